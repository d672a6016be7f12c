import numpy as np
import pandas as pd
import pytest

from fashion.metrics.predictions import Predictions
from fashion.reports import mistakes_section
from fashion.reports.error_analysis import ErrorAnalysis


def test_the_robustness_has_the_interval_of_each_accuracy():
    predictions = Predictions(np.array(["a"]), np.float32([[0.9, 0.1]]), np.array([0]), ("A", "B"))
    robustness = pd.DataFrame(
        {"name": "blur", "level": list("abc"), "accuracy": [0.8, 0.01, 0.99], "support": 100}
    )
    table = mistakes_section.tables(predictions, ErrorAnalysis(robustness=robustness))["robustness"]
    assert table["low"].tolist() == pytest.approx([0.7112, 0.0018, 1 - 0.0545], abs=5e-5)
    assert table["high"].tolist() == pytest.approx([0.8666, 0.0545, 1 - 0.0018], abs=5e-5)
