"""What processes may tell of themselves, and where: what launchers tell ranks, nothing else."""

#: What launchers tell ranks of who they are and where they meet.
TOLD = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK"),
    *("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"),
    *("GLOO_SOCKET_IFNAME", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"),
)
#: Which trial a process belongs to.
TRIAL = ("METTA_RUN_ID", "METTA_TRIAL")
#: Where they tell it, in the run's folder: a folder for each node, with a file for each process.
FOLDER = ".lives"
