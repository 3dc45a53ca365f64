"""Settings of Ray and Ray Tune that are environment variables; the user's own values win."""

import os

SETTINGS = {
    # Tune's console output, its loggers, and its signal handler: the first Ctrl-C ends the run.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Tune never saves its state, since rows are the record.
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # no warning about GPU settings
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's logs; its default is 5 x 512 MB per process.
    "RAY_ROTATION_MAX_BYTES": str(20 * 2**20),
    "RAY_ROTATION_BACKUP_COUNT": "2",
    # Ray's records of finished tasks, which take about 17 kB per trial; its default is 100,000.
    "RAY_task_events_max_num_task_in_gcs": "2000",
}


def missing() -> dict[str, str]:
    """The settings that the user has not set; they must be set before ray is imported."""
    return {name: value for name, value in SETTINGS.items() if name not in os.environ}
