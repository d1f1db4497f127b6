"""Devices and precisions by name."""

import pytest
import torch

from cptools.core.device import choose_bf16, choose_device


def test_cpu_and_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu") == torch.device("cpu")
    for available, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda a=available: a)
        assert choose_device("auto") == torch.device(expected)


def test_cuda_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("cuda", "cuda:0", "cuda:1"):
        assert choose_device(name) == torch.device(name)
    with pytest.raises(ValueError, match="no device 'cuda:2' on this machine; use `device=cpu`"):
        choose_device("cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match="no device 'cuda' on this machine"):
        choose_device("cuda")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:x", "cuda:-1", "CPU", "mps", "meta"])
def test_other_names_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match="use auto, cpu, cuda or cuda:N") as caught:
        choose_device(name)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_precision_asked_for_is_the_one_given() -> None:
    for device in (torch.device("cpu"), torch.device("cuda")):
        assert choose_bf16("bf16", device) is True
        assert choose_bf16("fp32", device) is False


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx512_f": True}, False)],
)
def test_auto_on_the_cpu_asks_for_bf16_instructions(
    capabilities: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert choose_bf16("auto", torch.device("cpu")) is expected


def test_auto_without_a_way_to_ask_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_bf16("auto", torch.device("cpu")) is False


@pytest.mark.parametrize("supported", [True, False])
def test_auto_on_cuda_wants_no_emulation(supported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*, including_emulation: bool = True) -> bool:
        return including_emulation or supported

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", asked)
    assert choose_bf16("auto", torch.device("cuda")) is supported


@pytest.mark.gpu
def test_a_real_gpu_is_chosen() -> None:
    device = choose_device("auto")
    assert torch.zeros(1, device=device).is_cuda
