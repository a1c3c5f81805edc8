"""What papers claim of cost, computed."""

import re

from hvt_bench.published import SYSTEMS
from hvt_bench.reproduce.claims import CLAIMS, compute


def found(text):
    (computed,) = [each for each in compute(SYSTEMS) if each.claim.text == text]
    return computed.findings


def test_comparable_flops_of_hvt_are_macs_and_11_percent_more():
    findings = found("Scale HVT-Ti-4 has FLOPs comparable to those of DeiT-Ti (1.39 against 1.25)")
    assert [(finding.found, finding.holds) for finding in findings] == [
        ("1.39 against 1.25 G, 11 % more", True),
        ("1.40 against 1.26 G, 11 % more", False),
    ]


def test_fewer_flops_of_dynamicvit_are_without_its_predictors():
    without, with_them = found("31 to 37 % fewer FLOPs")
    percent = [float(number) for number in re.findall(r"([\d.]+) %", without.found)]
    assert percent == [37.4, 37.0, 30.6, 33.7]
    assert without.holds
    assert [float(number) for number in re.findall(r"([\d.]+) %", with_them.found)] == [35.2, 34.7, 29.0, 32.2]
    assert not with_them.holds


def test_throughput_of_dynamicvit_is_read_and_not_measured():
    (finding,) = found("throughput improved by over 40 %")
    assert finding.found == "DeiT-S 54 % more, LV-ViT-S 43 % more, LV-ViT-M 51 % more"
    assert finding.holds
    assert "not measured here" in finding.convention


def test_accuracy_of_dynamicvit_is_read_and_not_trained():
    (finding,) = found("accuracy drops by at most 0.5 %")
    assert finding.found == "DeiT-S 0.5, LV-ViT-S 0.3, LV-ViT-M 0.2"
    assert finding.holds


def test_claims_are_those_of_the_systems_asked_for():
    assert {computed.claim.key for computed in compute(("hvt",))} == {"hvt"}
    assert compute(("vitgan",)) == ()
    assert {claim.key for claim in CLAIMS} <= set(SYSTEMS)
