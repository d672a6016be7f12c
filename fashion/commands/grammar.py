"""What may be typed: the commands, their settings and their help. Nothing heavy is imported."""

import os

from fashion.commands.settings import value_of
from fashion.commands.words import Command, Key, expand, typed

REVIEWING = ("status", "export", "import", "forget")
DATA = Key("where the photos are, when they have moved: a folder or a zip", "ROOT", expand)
OUTPUT = Key("where the page and its tables go", "DIR", expand)
CACHE_DIR = Key("the folder of the stores; without it the user's cache", "DIR", expand)

COMMANDS = {
    "train": Command(
        "Fine-tune one backbone and report on it; sweep over several with --multirun.",
        "fashion train data=sample model=resnet50 model.pretrained=false trainer.max_epochs=4",
        "`python train.py` is the same.",
        composes=True,
        helps_on=("",),
    ),
    "explore": Command(
        "Show a catalogue on a page before a model is trained on it.",
        "fashion explore data.root=archive.zip output_dir=explored",
        "It trains nothing, and writes index.html, audit.json and CSV files. All words of training "
        "may be typed; these matter:",
        {"output_dir": Key("where the page and its tables go", "outputs/explore")},
        composes=True,
        helps_on=("data", "model.input_size"),
        helps_not_on=(
            *("data.rotation", "data.sampler", "data.batch_size", "data.num_workers", "data.views"),
        ),
    ),
    "suspects": Command(
        "Name the labels that are likely wrong, from what models say of photos not trained on.",
        "fashion suspects outputs/mine",
        "Of one run the test and the validation split are read, of a cross-validation's runs "
        "(data.folds=5 data.fold=0,1,2,3,4) the test splits, which together have every photo. "
        "suspect_labels.csv can be reviewed and passed as data.relabel.",
        {"output_dir": OUTPUT, "data.root": DATA},
        files="RUNS ...",
        needs_files=True,
        expected_file="the folder of a finished run, or those of a cross-validation",
    ),
    "evaluate": Command(
        "Rewrite a run's report from its checkpoint, or compare a job's labels with true ones.",
        "fashion evaluate ckpt_path=outputs/mine/checkpoints/best.ckpt split=all data.root=b.zip",
        "Model, classes and data settings come from the checkpoint; data.KEY=VALUE replaces one. "
        "results=JOB truth=FILE.csv evaluates what fashion label has written.",
        {
            "ckpt_path": Key("the checkpoint of a run", "FILE", expand),
            "results": Key("or the folder of a finished job of fashion label", "JOB", expand),
            "truth": Key(
                "the job's true labels: a CSV with the columns photo,label", "FILE", expand
            ),
            "split": Key("train, val, test (without it), or all rows of the catalogue", "SPLIT"),
            "output_dir": Key("where the report goes; without it the run's folder", "DIR", expand),
            "robustness_photos": Key(
                "how many are blurred and so on; 0: none, without it by the split's size",
                "N",
                typed,
            ),
        },
        one_of=("ckpt_path", "results"),
        groups={"data": value_of, "trainer": value_of},
    ),
    "predict": Command(
        "Label photos with the five likeliest classes each.",
        "fashion predict bundle=shoes photos/ more.zip output=labels.csv",
        "PHOTOS are photo files, folders (searched through) and zips. What is labelled is kept in "
        "output.part: killed and typed again, it goes on from there.",
        {
            "bundle": Key("the model: a folder or zip that fashion export has made", "DIR", expand),
            "ckpt_path": Key(
                "or a run's checkpoint; typed several times, the mean of their probabilities is "
                "taken",
                "FILE",
                expand,
                repeats=True,
            ),
            "int8": Key("label by the bundle's quantised network", "true"),
            "dtype": Key(
                "what the bundle is computed in: float32, or bfloat16, where fashion export has "
                "found that to label as well; it needs the extra train",
                "float32",
            ),
            "output": Key("the CSV file to write", "predictions.csv", expand),
            "batch_size": Key("photos labelled at a time", "64"),
            "zip_encoding": Key("the code page of a zip's names that aren't UTF-8", "cp866"),
            "precision": Key(
                "add a column that says which labels are sure enough to be right that often", "0.98"
            ),
            "names": Key(
                "a CSV with the columns photo,name: names that help, for a model trained with "
                "data.text_column",
                "FILE.csv",
                expand,
            ),
            "restart": Key("drop what a killed run has labelled, instead of going on", "true"),
        },
        one_of=("bundle", "ckpt_path"),
        files="PHOTOS ...",
        needs_files=True,
        expected_file="photo files, folders or zips",
    ),
    "label": Command(
        "Label millions of photos, on one machine or a cluster; killed, it goes on.",
        "fashion label bundle=shoes input=photos/ input=more.zip output=job",
        "The folder output keeps all of a job: the same words go on with it after any end, and "
        "each photo is labelled exactly once. It ends in predictions.csv, as fashion predict "
        "writes it, and summary.json. docs/jobs.md has more.",
        {
            "bundle": Key("the model: a folder or zip that fashion export has made", "DIR", expand),
            "input": Key(
                "a folder, a zip, a list (.txt, a path a line) or a table (.parquet with the "
                "column file or photo, and name where products' names help); may be typed several "
                "times",
                "PHOTOS",
                expand,
                repeats=True,
            ),
            "output": Key("the folder of the job", "DIR", expand),
            "int8": Key("label by the bundle's quantised network", "true"),
            "dtype": Key("as in fashion predict", "float32"),
            "precision": Key(
                "add a column that says which labels are sure enough to be right that often", "0.98"
            ),
            "probabilities": Key("keep the probabilities of all classes, in float16", "true"),
            "batch_size": Key("photos labelled at a time", "64"),
            "shard": Key("photos of a file of results; a kill costs as many a worker", "1024"),
            "zip_encoding": Key("the code page of a zip's names that aren't UTF-8", "cp866"),
            "names": Key("as in fashion predict", "FILE.csv", expand),
            "update": Key("append photos that the input has gained", "true"),
            "retry_failed": Key("try photos again that couldn't be read", "true"),
            "engine": Key("local: this machine; ray: a cluster, too", "local"),
            "ray_address": Key("the cluster to join; without it Ray starts one here", "HOST:PORT"),
            "workers": Key("processes that label; without it one for four cores", "2"),
            "photo_s": Key("seconds that reading and decoding a photo may take", "20"),
        },
        required=("bundle", "input", "output"),
    ),
    "export": Command(
        "Make a bundle of a trained model: a folder that labels photos without PyTorch.",
        "fashion export ckpt_path=outputs/mine/checkpoints/best.ckpt output=shoes license=mit",
        "It is written only if it labels photos as the checkpoint does. timm and Transformers load "
        "it, too. A large network, such as nasnetlarge, takes minutes.",
        {
            "ckpt_path": Key(
                "a run's checkpoint; typed several times, the bundle has the mean of their "
                "probabilities",
                "FILE",
                expand,
                repeats=True,
            ),
            "output": Key("the folder to write", "DIR", expand),
            "name": Key("what it is called; without it as its folder", "NAME"),
            "license": Key("the licence of the weights, which the card names", "mit"),
            "photos": Key(
                "a folder or a zip to compare on, in place of the catalogue", "PHOTOS", expand
            ),
            "int8": Key(
                "add the network in eight bits, if it labels the validation split as well and is "
                "1.3 times as fast on this machine",
                "true",
            ),
            "bfloat16": Key(
                "allow dtype=bfloat16 for labelling, if that labels the validation split as well "
                "and is 1.3 times as fast on this machine",
                "true",
            ),
            "overwrite": Key("take the place of an older bundle", "true"),
        },
        required=("ckpt_path", "output"),
    ),
    "verify": Command(
        "Check that a bundle is whole and labels here as where it was made.",
        "fashion verify bundle=shoes",
        "It needs no PyTorch. What differs is told: pixels, by another Pillow, apart from "
        "probabilities, by another engine.",
        {
            "bundle": Key("a folder or zip that fashion export has made", "DIR", expand),
            "int8": Key("test its quantised network", "true"),
        },
        required=("bundle",),
    ),
    "serve": Command(
        "Label photos over HTTP.",
        "fashion serve bundle=shoes precision=0.98 open=true",
        "It listens on this machine alone unless host says otherwise. docs/tool.md has the routes, "
        "and how to run it behind a proxy.",
        {
            "bundle": Key("a folder or zip that fashion export has made", "DIR", expand),
            "int8": Key("label by its quantised network", "true"),
            "precision": Key("say which labels are sure enough to be right that often", "0.98"),
            "host": Key("where it listens; others than this machine need a token", "127.0.0.1"),
            "port": Key("0 takes one that is free", "8000"),
            "open": Key("open the page in the browser", "true"),
            "page": Key("the page for people, at /", "true"),
            "review": Key("keep unsure photos there for people to decide on", "DIR", expand),
            "review_gb": Key("what they may take, in gigabytes", "5"),
            "blind": Key("the share of sure photos to keep, too, shown without a label", "0.05"),
            "token_file": Key(
                "holds the token that callers send; or the variable FASHION_TOKEN", "FILE", expand
            ),
            "token": Key("there is none, for a proxy asks who calls", "none"),
            "hosts": Key("more names by which it may be called", "NAME,..."),
            "origins": Key("other sites whose pages may call it", "https://NAME,..."),
            "max_mb": Key("of a photo", "20"),
            "max_request_mb": Key("of a request with several photos", "100"),
            "max_pixels": Key("of a photo", "40000000"),
            "max_photos": Key("of a request", "32"),
            "max_batch": Key("photos that are computed together", "16"),
            "queue": Key("photos that may wait; who comes then is told to try again", "64"),
            "buffer_mb": Key("of all requests that are being received", "256"),
            "connections": Key("that may be open", "2048"),
            "deadline_s": Key("seconds from a request to its reply", "30"),
            "receive_s": Key("seconds in which a request has to be there", "15"),
            "drain_s": Key("seconds to finish in, once it is told to end", "20"),
            "debug": Key("have the log name photos", "true"),
        },
        required=("bundle",),
    ),
    "corrections": Command(
        "Tell, import, export or forget what people decided on photos kept for review.",
        "fashion corrections export review=review output=corrections data.root=archive.zip",
        "status tells what waits, what was decided, and how often sure labels are right. export "
        "writes output/more, for data.more, and relabel.csv and exclude.csv for the photos of the "
        "catalogue that data.root names. import reads a CSV of id and label, or of the page. "
        "forget deletes photos with all that is known of them.",
        {
            "review": Key("the folder that fashion serve keeps photos in", "DIR", expand),
            "output": Key("the folder that export writes", "DIR", expand),
            "person": Key("who decided what is imported", "NAME"),
            "sha256": Key("the photo to forget; may be typed several times", "HEX", repeats=True),
        },
        required=("review",),
        groups={"data": value_of},
        files="status | export | import FILE | forget",
        needs_files=True,
        expected_file="status, export, import and the name of a CSV, or forget",
        is_file=lambda word: word in REVIEWING or os.path.lexists(word),
    ),
    "compare": Command(
        "Put runs side by side: their figures, which differences are real, what they cost.",
        "fashion compare outputs/a outputs/b multirun/seeds output_dir=comparison",
        "A sweep writes the same after each of its jobs.",
        {"output_dir": OUTPUT},
        files="DIR ...",
        needs_files=True,
        expected_file="folders of runs or sweeps",
    ),
    "doctor": Command(
        "Tell what this machine can train on, whether a run would work, and the command for it.",
        "fashion doctor model=nasnetlarge data.root=archive.zip",
        "It trains, decodes and writes nothing. All words of training may be typed; these matter:",
        composes=True,
        helps_on=("data", "model=", "model.", "trainer"),
    ),
    "cache": Command(
        "List or delete the stores of packed photos and of features.",
        "fashion cache delete 50192681f73338ce",
        "fashion cache list lists them; fashion cache delete KEY ... deletes some, or all.",
        {"data.cache_dir": CACHE_DIR},
        files="[list | delete KEY ... | delete all]",
        expected_file="list, or delete and the KEY of a store",
        is_file=lambda word: "=" not in word and not word.startswith("-"),
    ),
    "download": Command(
        "Fetch the published catalogue from Kaggle.",
        "fashion download small",
        "small is about 0.6 GB with photos of 60x80, full 15 to 25 GB.",
        {"output_dir": Key("where it goes", "data/fashion-product-images", expand)},
        files="[small | full]",
        expected_file="small or full",
        is_file=lambda word: word in ("small", "full"),
    ),
}
