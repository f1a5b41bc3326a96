"""Where the time of a training step goes, read from logs."""

from benchmarks import train_where

LOG = """
onednn_verbose,v1,info,oneDNN v3.11.0 (commit 0)
onednn_verbose,v1,primitive,create:cache_miss,cpu,convolution,jit,forward,,,,mb8,9
onednn_verbose,v1,primitive,exec,cpu,convolution,jit:a,forward_training,src:f32,\
attr-scratchpad:user,alg:convolution_direct,mb8_ic16oc16,3.5
onednn_verbose,v1,primitive,exec,cpu,convolution,brg:b,forward_training,,,,mb8,1
onednn_verbose,v1,primitive,exec,cpu,convolution,jit:a,backward_data,,,,mb8,0.25
something else, exec, 1
onednn_verbose,primitive,exec,cpu,reorder,jit:uni,undef,,,,16x16,0.5
"""


def test_a_log_is_summed_by_primitive_and_direction():
    lines = LOG.replace("\\\n", "").splitlines()
    found = train_where.read_log(lines, count=2)
    assert found == {
        "convolution, forward_training": (2.25, 1.0, {"jit:a": 1.75, "brg:b": 0.5}),
        "convolution, backward_data": (0.125, 0.5, {"jit:a": 0.125}),
        "reorder": (0.25, 0.5, {"jit:uni": 0.25}),
    }
    ours = train_where.Side(4.0, found, {"Mul": 1.0, "Pad": 0.5}, "oneDNN v3")
    assert ours.inside == 2.625
    heading, body = train_where.table(ours, None)
    assert heading == ["primitive", "ours, ms", "calls"]
    assert [row[0] for row in body[:3]] == [
        *("convolution, forward_training", "reorder", "convolution, backward_data")
    ]
    assert [row[1] for row in body[3:]] == ["2.62", "1.38", "4.00"]
    assert train_where.outside(ours) == "`Mul` 1.00, `Pad` 0.50"
    other = train_where.Side(2.0, {"matmul": (1.0, 1.0, {"x": 1.0})}, {}, "oneDNN v3")
    _, both = train_where.table(ours, other)
    assert ["matmul", "0.00", "0", "1.00", "1"] in both
    assert both[0][3:] == ["0.00", "0"]
