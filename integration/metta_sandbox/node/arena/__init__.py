"""The bundled trainer: PPO on the mettagrid arena, under PyTorch DDP over Gloo."""
