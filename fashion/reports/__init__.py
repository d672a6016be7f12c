"""Pages, figures and tables about runs and catalogues."""
