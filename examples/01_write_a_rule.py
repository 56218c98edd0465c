"""Write a learning rule as text, be told what is wrong with it, mend it, and let a network learn with it.

Run from the root of the repository: .venv/bin/python examples/01_write_a_rule.py
"""

from __future__ import annotations

import torch

import rulec
from rulec.tasks.registry import task_from

# What happens at every neuron and at every synapse, for whatever network: feedback alignment (Lillicrap et al. 2016). Errors
# travel back through synapses `v` of their own, which are never learned.
WRITTEN = """
rule feedback "Errors come back through fixed random synapses"

genome
  lr : positive = 0.5

neuron
  x  # activation
  z  # pre-activation
  d  # error

synapse
  w[i,j] = normal(0, 1 / sqrt(fan_in))
  v[j,i] = normal(0, 1 / sqrt(fan_in))

input i
  x[i] = input[i]

forward i -> j
  z[j] = sum[i](w[i,j] * x[i])
  x[j] = act(z[j])

output j
  prediction[j] = x[j]
  d[j] = diff(loss, z[j])

backward i <- j
  d[i] = act'(z[i]) * sum[j](v[j,i] * d[j])

update i -> j
  w[i,j] -= lr * x[i] * d[j]
"""


def main() -> None:
    # There is a mistake in the last line. It is found before there is a network or any data.
    try:
        rulec.parse(WRITTEN)
    except rulec.RuleError as error:
        print(error)

    # The help can be pasted.
    rule = rulec.parse(WRITTEN.replace("lr * x[i] * d[j]", "lr * mean[n](x[i] * d[j])"))
    print(f"\n{rule.name}: {rule.doc}\n")

    # Rule and network become one training step: a function that changes nothing and returns the next state.
    step = rule.compile("64-32-10")
    genome, state = step.init_genome(seed=0), step.init_state(seed=0)

    digits = task_from("digits(pixels=standard)")
    lesson = digits.episode(seed=0, steps=10, batch=128)
    exam = digits.episode(seed=0, steps=1, batch=1, query=400, held_out=True)
    images, labels = exam.query_x[0], exam.query_y[0]  # [0]: the only task of this episode

    print(f"untrained  accuracy {digits.accuracy(step.predict(genome, state, images), labels):.3f} on held-out digits")
    for number, (x, y) in enumerate(zip(lesson.support_x[:, 0], lesson.support_y[:, 0], strict=True), 1):
        state, output = step(genome, state, x, y)
        print(f"step {number:2}    accuracy {digits.accuracy(output.prediction, y):.3f} on its batch")
    print(f"learned    accuracy {digits.accuracy(step.predict(genome, state, images), labels):.3f} on held-out digits")


if __name__ == "__main__":
    torch.set_num_threads(1)  # tensors as small as these gain nothing from more
    main()
