"""What a training would need and cost: memory a GPU, operations, days, dollars, bytes.

`request` reads what is asked, `shape` networks, `hardware` accelerators; `memory` and `activations` count bytes,
`compute` operations and time, `running` failures, checkpoints and dollars; `answer` puts them together, and `text`
tells it.
"""
