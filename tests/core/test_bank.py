import pytest
import torch

from magicstyle_core.bank import FeatureBank

CPU = torch.device("cpu")


@pytest.fixture
def features() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    wide = torch.linspace(0.1, 8, 16)  # channels of very different scale, as a trained LayerNorm has
    return {
        "down": torch.randn(1, 64, 16, generator=generator) * wide,
        "mid": torch.randn(1, 16, 32, generator=generator),
    }


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got.float() - expected).norm() / expected.norm())


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 0.0), (torch.float16, 3e-4), (torch.bfloat16, 3e-3), (torch.int8, 1.2e-2)]
)
def test_what_is_written_is_read(features: dict[str, torch.Tensor], dtype: torch.dtype, tolerance: float) -> None:
    bank = FeatureBank(dtype, CPU)
    for step in (0, 3):
        bank.write(step, {name: tensor + step for name, tensor in features.items()})
    for step in (0, 3):
        read = {name: row.features for name, row in bank.fetch(step, list(features), CPU).items()}
        assert list(read) == list(features)
        for name, tensor in features.items():
            assert read[name].shape == tensor.shape
            assert relative_error(read[name], tensor + step) <= tolerance


def test_bytes_are_those_of_the_tensors(features: dict[str, torch.Tensor]) -> None:
    elements = 64 * 16 + 16 * 32
    for dtype, expected in ((torch.float16, 2 * elements), (torch.int8, elements + 4 * (16 + 32))):
        bank = FeatureBank(dtype, CPU)
        assert bank.nbytes == 0
        bank.write(0, features)
        assert bank.nbytes == expected
        bank.write(0, features)  # again, not beside
        assert bank.nbytes == expected


def test_a_step_does_not_keep_the_others_alive(features: dict[str, torch.Tensor]) -> None:
    bank = FeatureBank(torch.float16, CPU)
    for step in range(3):
        bank.write(step, features)
    for row in bank.fetch(1, list(features), CPU).values():
        assert row.values.untyped_storage().nbytes() == row.nbytes


def test_layers_can_be_added_and_what_is_missing_is_known(features: dict[str, torch.Tensor]) -> None:
    bank = FeatureBank(torch.float16, CPU)
    for step in range(3):
        bank.write(step, {"down": features["down"]})
    assert bank.missing(range(3), ["down"]) == []
    assert bank.missing(range(4), ["down"]) == [3]
    bank.write(1, {"mid": features["mid"]})
    assert bank.missing(range(3), ["down", "mid"]) == [0, 2]


def test_a_channel_of_zeros_survives_8_bits() -> None:
    bank = FeatureBank(torch.int8, CPU)
    bank.write(0, {"a": torch.zeros(1, 4, 2)})
    assert torch.equal(bank.fetch(0, ["a"], CPU)["a"].features, torch.zeros(1, 4, 2))
