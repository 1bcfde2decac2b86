"""Overrides that make runs of the tiny configurations take a few seconds."""

SMALL = (
    "trainer.max_steps=2",
    "data.rollout_batch_size=4",
    "data.max_response_length=40",
    "worker.rollout.n=4",
    "worker.actor.global_batch_size=4",
    "worker.actor.micro_batch_size_per_device_for_update=16",
)
