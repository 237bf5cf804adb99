"""The engine: claims runs, executes their steps, writes checkpoints. Knows no verb and no AI."""

from stanchion.runs.engine.worker import SpawnProbation, Worker

__all__ = ["SpawnProbation", "Worker"]
