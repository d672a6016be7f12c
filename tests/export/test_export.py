def test_a(run_dir, tmp_path):
    import shutil

    shutil.copytree(run_dir, "/tmp/export/run", dirs_exist_ok=True)
