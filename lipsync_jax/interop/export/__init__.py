"""Writes trained networks as programs that run without this package: StableHLO and ONNX.

    from lipsync_jax.interop.export.folder import export
    export("runs/wav2lip", "exported", formats=("onnx", "stablehlo"))

What is exported is listed by `functions`; `stablehlo` and `onnx_file` write files; `examples`
computes inputs and outputs, and compares files with the original; `folder` does all of it.
"""
