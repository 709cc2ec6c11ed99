"""A network at a glance: held against its geometry."""

from bnnedge import Settings, Trainer, binarynet, cnv, digits
from bnnedge.compiler.layout import layout


def test_dense(capsys):
    digits().summary()
    assert capsys.readouterr().out == (
        "network digits\n"
        "------------------------------------\n"
        "layer                output  weights\n"
        "------------------------------------\n"
        "input                 8 x 8\n"
        "layer 1 (dense 128)     128    8,192\n"
        "layer 2 (dense 128)     128   16,384\n"
        "layer 3 (dense 10)       10    1,280\n"
        "------------------------------------\n"
        "all                           25,856\n"
    )


def test_convolutions(capsys):
    cnv().summary()
    printed = capsys.readouterr().out
    assert "layer 2 (conv2d 64), pooled: signs 14 x 14 x 64 36,864" in " ".join(printed.split())
    binarynet().summary()
    assert "layer 6 (conv2d 512), pooled: sums 4 x 4 x 512 " in " ".join(capsys.readouterr().out.split())


def test_trainer(capsys):
    trainer = Trainer(digits(), settings=Settings(batch=64))
    trainer.summary()
    printed = capsys.readouterr().out
    there = layout(trainer.network, trainer.settings, trainer.device.configuration)
    sizes = [there.latent_bytes(i) for i in range(3)]
    assert all(f"  {size:,}\n" in printed for size in [*sizes, sum(sizes)])
    assert printed.endswith(
        "Trainer('digits' 64-128-128-10, device golden (sim-small), batch 64, rate 0.012, cosine, 0 steps taken)\n"
    )
    trainer.close()
    assert repr(trainer).endswith(", closed)")
