"""Model versions, the promotion gate and the champion alias, on MLflow."""
