"""Train the published auto-encoder with Keras, as the published notebooks do.

Reads commands from standard input and answers each with a line of JSON, so that another process can
take turns with it: `fit N` trains on N batches and gives the time and the loss; `predict FILE`
writes what the network makes of the test images. Needs only TensorFlow.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def published_network(tail: list[int]) -> keras.Model:
    """Return the network of the notebooks, for images of shape (N, H, W, 1)."""
    network = keras.Sequential(
        [
            layers.Conv2D(64, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2DTranspose(64, 3, strides=2, padding="same", activation="relu"),
            *(layers.Conv2D(n, 3, padding="same", activation="sigmoid") for n in [*tail, 1]),
        ]
    )
    network.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "arrays", type=Path, help=".npz: noisy, clean, order, test, w0, b0, w1, ..."
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.threads)

    arrays = np.load(arguments.arrays)
    noisy, clean = arrays["noisy"][..., None], arrays["clean"][..., None]
    order = arrays["order"]
    weights = [arrays[f"{kind}{n}"] for n in range(8) if f"w{n}" in arrays for kind in "wb"]
    network = published_network([w.shape[-1] for w in weights[8:-2:2]])
    network.build((None, *noisy.shape[1:]))
    network.set_weights(weights)
    taken = 0
    print(json.dumps({"tensorflow": tf.__version__, "keras": keras.__version__}), flush=True)
    for line in sys.stdin:
        command, argument = line.split()
        if command == "fit":
            count = int(argument) * arguments.batch
            chosen = np.take(order, range(taken, taken + count), mode="wrap")
            taken += count
            x, y = noisy[chosen], clean[chosen]
            started = time.perf_counter()
            fitted = network.fit(x, y, batch_size=arguments.batch, shuffle=False, verbose=0)
            seconds = time.perf_counter() - started
            answer = {"seconds": seconds, "loss": fitted.history["loss"][0]}
        else:
            outputs = network.predict(arrays["test"][..., None], verbose=0)
            np.save(argument, outputs[..., 0])
            answer = {"written": argument}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
