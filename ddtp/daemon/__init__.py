"""The long-running institution service."""
