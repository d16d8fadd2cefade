"""Schedules: tasks that run by the clock."""
