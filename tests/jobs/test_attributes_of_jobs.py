import csv
import json

import pyarrow.parquet as pq

from fashion.bundles.bundle_files import BundleFiles
from fashion.jobs.folder import JobFolder
from fashion.jobs.label_job import label_job
from fashion.jobs.settings import Effort, JobSettings
from fashion.labelling.label_files import label_files


def test_a_job_tells_what_predict_does(attributes_bundle, tmp_path):
    photos = attributes_bundle / "selftest" / "photos"
    asked = JobSettings(
        bundle=BundleFiles(attributes_bundle).id, input=(str(photos),), probabilities=True
    )
    output = tmp_path / "job"
    summary, _ = label_job(attributes_bundle, output, [str(photos)], asked, Effort(workers=1))
    label_files([photos], bundle=attributes_bundle, output=tmp_path / "labels.csv")
    job, alone = (
        list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        for path in (output / "predictions.csv", tmp_path / "labels.csv")
    )
    assert job == alone
    counted = {name: sum(values.values()) for name, values in summary["attributes"].items()}
    assert counted == {"shade": 3, "photo": 3}
    job = JobFolder(output).read()
    assert job.heads == BundleFiles(attributes_bundle).manifest.heads
    [path] = (output / "results").glob("*.parquet")
    table = pq.read_table(path)
    assert {"shade", "shade_probability", "photo (2)"} <= {*table.column_names}
    assert {len(row) for row in table.column("probabilities").to_pylist() if row} == {3}
    assert "attributes" in json.loads((output / "job.json").read_bytes())
