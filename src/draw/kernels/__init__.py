"""The fused engine: the loop over all glimpses as one function, in C++ (CPU) or Triton (GPU).

The engine computes what `DRAW.encode_step`, `DRAW.decode_step` and `GlimpseClassifier.encode_step`
compute, and the gradients. It has its own copy of the equations, so it only runs a model whose
methods, layers and likelihood are exactly those that its class defines: overriding a method,
replacing or hooking a layer, or setting another likelihood makes the plain engine run instead (see
`draw.kernels.dispatch`). A self-check on first use (`draw.kernels.self_check`) also catches large
differences between the engine and the source, such as an edited equation in `draw.model` or
`draw.attention`; it does not catch differences below its tolerance, nor functions replaced after it
has run. While you edit the equations, set `model.engine = "plain"`.

The engine's gradients cannot be differentiated again. For second derivatives, also set
`model.engine = "plain"`.
"""

from draw.kernels.classifier import classify
from draw.kernels.dispatch import Engine, available, register, use_fused
from draw.kernels.loops import ENGINES, forward, generate

__all__ = [
    "ENGINES",
    "Engine",
    "available",
    "classify",
    "forward",
    "generate",
    "register",
    "use_fused",
]
