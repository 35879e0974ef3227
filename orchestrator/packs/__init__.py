"""One pack, the worker's side: train it, write down what happens, survive what happens to it."""
