"""What a running broker keeps from other processes of its own user."""

import os
import pwd
import shutil
import subprocess
import tempfile



def test_the_brokers_proc_files_belong_to_root():
    """A broker that runs as a user of its own cannot be looked into by that user: not its environment, not its memory
    (and the kernel writes no core file of it)."""
    assert os.geteuid() == 0, "needs root, to become another user"
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(prefix="skein-private.") as folder:
        os.chmod(folder, 0o755)
        program = shutil.copy(os.environ["SKEIND"], f"{folder}/skeind")
        home = f"{folder}/home"
        os.mkdir(home, 0o700)
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        process = subprocess.Popen(
            [program, "--dev", f"{home}/broker", "--listen", "127.0.0.1:0", "--operations", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
        )
        try:
            assert process.stdout.readline().startswith("skeind ready")
            assert os.stat(f"/proc/{process.pid}/environ").st_uid == 0
            peek = subprocess.run(
                ["cat", f"/proc/{process.pid}/environ"], capture_output=True, user=nobody.pw_uid, group=nobody.pw_gid,
                extra_groups=[],
            )
            assert peek.returncode != 0 and b"Permission denied" in peek.stderr
        finally:
            process.terminate()
            assert process.wait(30) == 0
