"""Labels for millions of photos, each exactly once, however often the job is killed."""
