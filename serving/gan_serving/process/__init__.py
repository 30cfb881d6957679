"""The worker process itself: its threads and deadlines, its signals, and the files that workers share."""
