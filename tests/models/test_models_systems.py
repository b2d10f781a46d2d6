"""Two players: an optimiser each, one update of each, losses scaled in one place."""

import keras
import numpy as np
import pytest

from ct_keras import models
from ct_keras.errors import CtKerasError
from ct_keras.training.checkpoints import training_variables


@pytest.fixture(params=["pix2pix", "wgan_vgg", "seo_resnet"])
def make(request):
    """From a policy to a compiled system of fixed weights and plain descent."""

    def make(policy):
        keras.utils.set_random_seed(0)
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        descent = [keras.optimizers.SGD(1e-3) for _ in range(2)]
        try:
            if request.param == "seo_resnet":
                system = models.DilatedBackprop(models.SeoResNet(width=2), proportion=0)
                system.compile(descent[0])
            elif request.param == "pix2pix":
                network = models.Pix2PixGenerator(width=2, depth=3, dropout=0.0)
                judge = models.PatchGAN(2, receptive_field=16)
                system = models.Pix2Pix(network, judge, lambda_l1=0.01)
                system.compile(*descent)
            else:
                critic = models.WganVggCritic(width=2, patch_size=32)
                network = models.WganVggGenerator(width=2)
                system = models.WganVgg(network, critic, seed=0)
                losses = {"perceptual_weight": 0, "pixel_weight": 0.1}
                system.compile(*descent, critic_steps=1, **losses)
        finally:
            keras.config.set_dtype_policy(before)
        return system

    return make


def _trained(network) -> list[np.ndarray]:
    return [np.array(weight) for weight in network.trainable_variables]


def _lengths(system) -> np.ndarray:
    """How far one step moves the network, and the opponent if there is one."""
    generator = np.random.default_rng(0)
    full = generator.uniform(0.2, 0.3, (4, 32, 32, 1)).astype(np.float32)
    low = full + generator.normal(0, 0.01, full.shape).astype(np.float32)
    players = [system.network, getattr(system, "opponent", system.network)]
    before = [_trained(player) for player in players]
    system.train_step(tuple(map(keras.ops.convert_to_tensor, (low, full))))
    moved = [
        [new - old for new, old in zip(_trained(player), weights, strict=True)]
        for player, weights in zip(players, before, strict=True)
    ]
    return np.array([np.sqrt(sum(np.sum(w**2) for w in one)) for one in moved])


def test_a_step_in_half_precision_is_as_long_as_one_in_single(make):
    single, half = (_lengths(make(policy)) for policy in ("float32", "mixed_float16"))
    assert single.min() > 0
    # Unscaled losses would be off by 32768.
    assert np.abs(np.log2(half / single)).max() < 1


def test_both_optimisers_are_built_and_kept_by_a_checkpoint():
    system = models.Pix2Pix(models.Pix2PixGenerator(2, depth=3), models.PatchGAN(2))
    system.compile(keras.optimizers.Adam(), keras.optimizers.Adam())
    names = list(training_variables(system))
    for optimizer, network in (
        ("optimizer", system.network),
        ("opponent_optimizer", system.opponent),
    ):
        momenta = [name for name in names if name.startswith(f"{optimizer}/")]
        assert len(momenta) == 2 + 2 * len(network.trainable_variables)


def test_one_optimiser_for_both_is_refused():
    system = models.Pix2Pix(models.Pix2PixGenerator(2, depth=3), models.PatchGAN(2))
    adam = keras.optimizers.Adam()
    with pytest.raises(CtKerasError) as refusal:
        system.compile(adam, adam)
    assert refusal.value.code == "CTK-E000"
