"""Where tensors live and in what precision networks compute."""

import torch


def choose_device(name: str | torch.device) -> torch.device:
    """The device called "auto", "cpu", "cuda" or "cuda:N"; auto is cuda where there is one.

    A device itself is checked and returned.

    Raises:
        ValueError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not isinstance(name, str | torch.device):
        raise ValueError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device {str(name)!r} is not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"no device {str(name)!r} on this machine; use `device=cpu`")
    return device


def choose_bf16(precision: str, device: torch.device) -> bool:
    """Whether networks compute in bfloat16: "auto" asks the hardware, "bf16" and "fp32" decide.

    On the CPU bfloat16 pays with AVX512-BF16 or AMX and is slower than float32 without.

    Raises:
        ValueError: the precision is another word.
    """
    if precision not in ("auto", "bf16", "fp32"):
        raise ValueError(f"unknown precision {precision!r}; use auto, bf16 or fp32")
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
