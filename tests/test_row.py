import pickle

import pytest

from hvt_bench.row import COLUMNS, Row, csv_text


def test_the_header_is_the_one_that_people_and_ci_depend_on():
    assert " ".join(COLUMNS) == (
        "point_id sweep model axis family "
        "img_size patch_size in_chans num_classes embed_dim depth num_heads mlp_ratio qkv_bias global_pool distilled "
        "pool_stages blocks_per_stage pool_kernel_size pool_stride pool stage_depths kv_stride "
        "keep_rate backbone teacher "
        "talking_heads patch_cosine patch_contrastive patch_mixing latent_dim mapping_layers "
        "model_kwargs checkpoint device dtype batch_size max_batch mode attention compile checkpointing "
        "warmup_s warmup_passes min_time_s max_time_s stable_pct "
        "params macs fvcore_flops activations train_macs seq_lens count_source arithmetic_intensity "
        "latency_ms latency_ms_p05 latency_ms_p95 latency_samples rounds remeasured latency_ms_rounds "
        "latency_spread_pct converged device_latency_ms device_latency_source throughput_img_s forward_ms backward_ms "
        "step_ms resolution_ms compile_s macs_per_s peak_macs_per_s peak_bytes_per_s mfu_pct parts_ms stage_parts_ms "
        "weights_mib peak_memory_mib reserved_memory_mib process_memory_mib "
        "estimated_memory_mib alloc_retries energy_mj_per_img clock_mhz_start clock_mhz_end power_limit_w "
        "throttle_reasons fp32_precision cudnn_benchmark other_load_pct cpu_share_pct "
        "top1 top5 top1_spread top1_rounds train_loss epochs_done train_s data_wait_pct train_processes "
        "total_train_macs data recipe "
        "ran_on device_name driver_version torch_version cuda_version cudnn_version cpu_name num_threads "
        "hvt_bench_version git_commit hostname status error warnings started_at seconds"
    )


def test_every_column_says_what_it_is():
    for name, column in COLUMNS.items():
        assert column.doc, name
        assert column.label, name


def test_a_row_has_every_column_and_unknown_is_none():
    row = Row({"model": "hvt_s_1", "macs": 5})
    assert list(row) == list(COLUMNS)
    assert row["macs"] == 5
    assert row["latency_ms"] is None


def test_a_row_refuses_a_strange_column():
    with pytest.raises(KeyError, match="no such columns: mcas"):
        Row({"mcas": 5})


@pytest.mark.parametrize("change", [lambda row: row.update(macs=6), lambda row: row.pop("macs")])
def test_a_row_does_not_change(change):
    row = Row({"macs": 5})
    with pytest.raises(TypeError, match="a row does not change"):
        row["macs"] = 6
    with pytest.raises(TypeError, match="a row does not change"):
        change(row)
    assert row["macs"] == 5


def test_a_row_goes_to_another_process():
    row = Row({"model": "hvt_s_1", "seq_lens": (196, 97)})
    there = pickle.loads(pickle.dumps(row))
    assert (type(there), there, there.line) == (Row, row, row.line)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (5627909160960, "5627909160960"),
        (1.23456789, "1.23457"),
        (123456789.0, "1.23457e+08"),
        (True, "true"),
        ((196, 97, 97), "196 97 97"),
        ("a, b", "a, b"),
    ],
)
def test_values_are_spelt(value, text):
    assert csv_text(value) == text
