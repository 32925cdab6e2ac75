"""The networks have the published sizes and keys, answer with logits of the input's size, and import what exists."""

import copy
import re

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from medseg.errors import InputError
from medseg.models.brain import brain_network
from medseg.models.checkpoint import load_state, parameter_count, state_problems, without
from medseg.models.encoder import load_encoder
from medseg.tasks import network_named

STAS = ("stas-efficientnetv2-m", "stas-eca-nfnet-l2", "stas-efficientnet-b6")

# The U-Nets of LUNA and LGG and STAS's encoders are published counts; the others are held where they are.
PARAMETERS = {
    ("luna-segment", None): 118_271,
    ("luna-nodule", None): 222_220,
    ("luna-malignancy", None): 222_220,
    ("gi-tract", None): 8_345_235,
    ("brain-lgg", "unet"): 7_763_041,
    ("brain-lgg", "unet-residual"): 8_111_297,
    ("brain-lgg", "unet-resnext50"): 31_992_977,
    ("brain-lgg", "fpn"): 25_587_905,
    ("brain-lgg", "unetpp"): 9_159_681,
    ("brain-lgg", "unet3p"): 6_744_449,
    ("stas-efficientnetv2-m", None): 53_352_453,
    ("stas-eca-nfnet-l2", None): 58_157_269,
    ("stas-efficientnet-b6", None): 40_639_273,
}


@pytest.mark.parametrize(("name", "arch"), PARAMETERS)
def test_parameters_and_output_shape(name, arch):
    network = network_named(name)
    options = {**network.options, **({"arch": arch} if arch else {})}
    with torch.device("meta"):
        module = network.build(**options).eval()
        assert parameter_count(module) == PARAMETERS[name, arch]
        answer = module(torch.zeros(2, *network.input_shape))
    assert tuple(answer.shape) == (2, *network.output_shape)


def test_brain_unet_has_the_public_keys():
    keys = brain_network("unet", 4).state_dict().keys()
    parts = [("encoder", "enc"), ("decoder", "dec")]
    blocks = [f"{part}{level}.{short}{level}" for part, short in parts for level in (1, 2, 3, 4)] + [
        "bottleneck.bottleneck"
    ]
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    public = {f"{block}conv{i}.weight" for block in blocks for i in (1, 2)}
    public |= {f"{block}norm{i}.{tensor}" for block in blocks for i in (1, 2) for tensor in norm}
    public |= {f"upconv{level}.{tensor}" for level in (1, 2, 3, 4) for tensor in ("weight", "bias")}
    assert set(keys) == public | {"conv.weight", "conv.bias"}


def test_unknown_architecture_lists_the_known_ones():
    with pytest.raises(InputError, match="architecture 'vnet' is unknown; expected one of unet, unet-residual"):
        brain_network("vnet")


def test_unet3p_answers_the_same_with_and_without_recomputing():
    module, images = brain_network("unet3p", 4), torch.rand(2, 3, 32, 32)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 0.0  # so that the training passes leave the running statistics alone
            norm.track_running_stats = False
            norm.running_mean = norm.running_var = None
    torch.testing.assert_close(module.train()(images), module.eval()(images))


def test_unet3p_counts_a_batch_once_although_it_computes_it_twice():
    torch.manual_seed(0)
    module, images = brain_network("unet3p", 2).train(), torch.rand(2, 3, 32, 32)
    once = copy.deepcopy(module)
    with torch.no_grad():
        once(images)
    module(images).sum().backward()
    for (name, ours), (_, theirs) in zip(module.named_buffers(), once.named_buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize("arch", ["unetpp", "unet3p"])
def test_nested_unets_take_oblong_pictures(arch):
    assert brain_network(arch, 2).eval()(torch.zeros(1, 3, 32, 64)).shape == (1, 1, 32, 64)


def theirs(encoder: str) -> nn.Module:
    """The STAS team's network, which has an auxiliary head."""
    head = {"pooling": "avg", "dropout": 0.4, "classes": 1}
    return smp.DeepLabV3Plus(encoder, encoder_weights=None, aux_params=head)


@pytest.mark.parametrize("name", STAS)
def test_stas_checkpoints_fit_when_their_auxiliary_head_is_dropped(name):
    network = network_named(name)
    with torch.device("meta"):
        published = theirs(network.options["encoder"]).state_dict()
        ours = network.build(**network.options).state_dict()
    kept, left_out = without(published, network.unused)
    assert left_out == ["classification_head."]
    assert not state_problems(ours, network.keys(kept))


@pytest.mark.parametrize("encoder", ["tu-tf_efficientnetv2_b0", "tu-eca_nfnet_l0", "tu-tf_efficientnet_b0"])
def test_stas_checkpoint_takes_the_upright_picture(encoder, tmp_path):
    """The team's network sees (width, height) pictures; the imported one answers the same for the upright picture.

    In float64, where random weights cannot make rounding errors grow into the answer, on the encoders' little siblings.
    """
    torch.manual_seed(0)
    published = theirs(encoder).double().eval()
    network = network_named(STAS[0])
    ours = network.build(encoder=encoder).double().eval()
    load_state(ours, network.keys(without(published.state_dict(), network.unused)[0]), tmp_path)
    picture = torch.rand(1, 3, 32, 64, dtype=torch.float64)
    with torch.inference_mode():
        expected = published(picture.transpose(2, 3))[0].transpose(2, 3)
        torch.testing.assert_close(ours(picture), expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())
        assert not torch.allclose(ours(picture.flip(3)), expected, rtol=1e-2), "the answer depends on the picture"


@pytest.mark.parametrize("old", ["tu-tf_efficientnetv2_m_in21ft1k", "tu-tf_efficientnet_b6_ns"])
def test_old_timm_names_are_todays_networks(old):
    network = network_named("stas-efficientnet-b6")
    today = re.sub("_in21ft1k|_ns", "", old)
    with torch.device("meta"):
        assert network.build(encoder=old).state_dict().keys() == network.build(encoder=today).state_dict().keys()


def test_encoder_weights_come_from_a_file_and_their_classifier_is_dropped(tmp_path):
    source = smp.Unet("efficientnet-b1", encoder_weights=None).encoder
    published = {**source.state_dict(), "_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    torch.save(published, tmp_path / "b1.pth")
    module = network_named("gi-tract").build(encoder="efficientnet-b1")
    load_encoder(module, tmp_path / "b1.pth")
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in module.encoder.state_dict().items())


def test_encoder_weights_of_timm_find_the_flattened_stages(tmp_path):
    import timm

    torch.save(timm.create_model("eca_nfnet_l0").state_dict(), tmp_path / "l0.pth")
    module = smp.DeepLabV3Plus("tu-eca_nfnet_l0", encoder_weights=None)
    load_encoder(module, tmp_path / "l0.pth")


def test_encoder_weights_of_another_encoder_are_refused(tmp_path):
    torch.save(smp.Unet("resnet18", encoder_weights=None).encoder.state_dict(), tmp_path / "r18.pth")
    with pytest.raises(InputError, match=r"r18\.pth holds no weights of this network"):
        load_encoder(network_named("gi-tract").build(encoder="efficientnet-b1"), tmp_path / "r18.pth")


def test_network_without_an_encoder_refuses_encoder_weights(tmp_path):
    with pytest.raises(InputError, match="has no pretrained encoder"):
        load_encoder(brain_network("unet", 2), tmp_path / "any.pth")


def test_the_architectures_that_a_network_names_are_those_that_can_be_built() -> None:
    from medseg.models.brain import ARCHITECTURES
    from medseg.tasks import network_named

    assert network_named("brain-lgg").choices == {"arch": tuple(ARCHITECTURES)}
