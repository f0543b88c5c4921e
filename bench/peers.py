"""The same MLP by other people's loops, each as its documentation begins; who is not installed is said to be missing.

pip install -r bench/requirements.txt
"""

import argparse
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from digits import ADAM, by_hand, digits, net, recipe
from machine import in_turn, machine, show
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import thalweg


def loader(data: Any) -> Any:
    """Batches of 32 in a new order in every epoch."""
    return DataLoader(TensorDataset(*data), batch_size=32, shuffle=True)


def ignite(data: Any, epochs: int) -> None:
    """PyTorch-Ignite: an engine around a supervised step."""
    from ignite.engine import create_supervised_trainer

    model = net()
    create_supervised_trainer(model, ADAM(model.parameters()), nn.CrossEntropyLoss()).run(loader(data), epochs)


def prepared_by_hand(own: Any, model: Any, optimizer: Any, batches: Any, loss: Any, epochs: int) -> None:
    """The loop that libraries leave to their users: all that is theirs is the backward pass."""
    for _ in range(epochs):
        for x, y in batches:
            optimizer.zero_grad()
            value = loss(model(x), y)
            own.backward(value)
            optimizer.step()


def fabric(data: Any, epochs: int) -> None:
    """Lightning Fabric: a loop by hand, its pieces set up by the library."""
    from lightning.fabric import Fabric

    own = Fabric(accelerator="cpu", devices=1)
    plain, loss = net(), nn.CrossEntropyLoss()
    model, optimizer = own.setup(plain, ADAM(plain.parameters()))
    prepared_by_hand(own, model, optimizer, own.setup_dataloaders(loader(data)), loss, epochs)


def accelerate(data: Any, epochs: int) -> None:
    """Hugging Face Accelerate: the same, prepared by an accelerator."""
    from accelerate import Accelerator

    own, plain, loss = Accelerator(cpu=True), net(), nn.CrossEntropyLoss()
    model, optimizer, batches = own.prepare(plain, ADAM(plain.parameters()), loader(data))
    prepared_by_hand(own, model, optimizer, batches, loss, epochs)


def estimator(epochs: int) -> Any:
    """The MLP as an estimator of skorch, without a validation split."""
    from skorch import NeuralNetClassifier

    return NeuralNetClassifier(
        net, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam, lr=1e-3, batch_size=32, max_epochs=epochs,
        iterator_train__shuffle=True, train_split=None, verbose=0,
    )  # fmt: skip


def skorch(data: Any, epochs: int) -> None:
    """Skorch's estimator, fitted."""
    x, y = (part.numpy() for part in data)
    estimator(epochs).fit(x, y)


def lightning(data: Any, epochs: int) -> None:
    """Lightning: a module and a trainer, nothing written."""
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.loss = net(), nn.CrossEntropyLoss()

        def training_step(self, batch: Any, index: int) -> Any:
            x, y = batch
            return self.loss(self.net(x), y)

        def configure_optimizers(self) -> Any:
            return ADAM(self.parameters())

    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    L.Trainer(max_epochs=epochs, accelerator="cpu", devices=1, **quiet).fit(Module(), loader(data))


def trainer(data: Any, epochs: int) -> None:
    """The Trainer of Hugging Face Transformers."""
    from transformers import Trainer, TrainingArguments

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.loss = net(), nn.CrossEntropyLoss()

        def forward(self, x: Any, labels: Any = None) -> Any:
            output = self.net(x)
            return {"loss": self.loss(output, labels), "logits": output}

    rows = [{"x": x, "labels": y} for x, y in zip(*data, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        said = TrainingArguments(
            folder, num_train_epochs=epochs, per_device_train_batch_size=32, learning_rate=1e-3, use_cpu=True,
            save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True,
        )  # fmt: skip
        Trainer(Model(), said, train_dataset=rows).train()


def keras(data: Any, epochs: int) -> None:
    """Keras 3 over torch."""
    import keras

    model = keras.Sequential([keras.layers.Dense(128, activation="relu"), keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    x, y = (part.numpy() for part in data)
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0)


PEERS: dict[str, tuple[str, Callable[[Any, int], None]]] = {
    "Ignite": ("ignite", ignite),
    "Fabric": ("lightning", fabric),
    "skorch": ("skorch", skorch),
    "Accelerate": ("accelerate", accelerate),
    "Lightning": ("lightning", lightning),
    "Transformers' Trainer": ("transformers", trainer),
    "Keras on torch": ("keras", keras),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["KERAS_BACKEND"] = "torch"
    warnings.simplefilter("ignore")
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    print(machine())
    data, epochs = digits(), chosen.epochs
    ways: dict[str, Callable[[], object]] = {
        "by hand": partial(by_hand, data, epochs),
        "thalweg.train": lambda: thalweg.train(recipe(data, epochs)),
    }
    missing = [name for name, (module, _) in PEERS.items() if find_spec(module) is None]
    ways |= {name: partial(way, data, epochs) for name, (_, way) in PEERS.items() if name not in missing}
    show(f"MLP 64-128-10, digits, batches of 32, {epochs} epochs", in_turn(ways, chosen.rounds), "by hand")
    for name in missing:
        print(f"  {name:<44}  missing: pip install -r bench/requirements.txt")


if __name__ == "__main__":
    main()
