"""ONNX Runtime without its telemetry, which writes to the user's folder and calls its maker."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it looks once, when it is imported
import onnxruntime as onnxruntime
