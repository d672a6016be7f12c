"""Which devices a run takes, and Lightning's parts for XLA's."""
