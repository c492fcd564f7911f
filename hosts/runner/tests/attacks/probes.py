"""Attacks on a sandbox, run inside it and, as control, outside.

Arguments: settings as NAME=VALUE, then the probes' names. Prints a line "NAME OUTCOME" for each: "ok", "seen",
"none", an errno's name, or the signal that ended it. Each runs in a child of its own. Nothing here changes the
machine where it succeeds: calls get arguments that the kernel refuses after it has checked rights, and files
are opened, not written.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import signal
import socket
import struct
import sys
import tempfile

libc = ctypes.CDLL(None, use_errno=True)
SETTINGS = {}
X86 = platform.machine() == "x86_64"
BIG = 1 << 32


def call(number, *arguments):
    """A system call with every argument as 64 bits."""
    passed = [ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *passed)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def calls(x86, arm, *arguments):
    return lambda: call(x86 if X86 else arm, *arguments) and None


def opens(path, flags=os.O_RDONLY):
    return lambda: os.close(os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC))


def reads(path):
    def probe():
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
            return "seen" if file.read(64) else "none"
    return probe


def sockets(family, kind=socket.SOCK_RAW, protocol=0):
    return lambda: call(41 if X86 else 198, family, kind, protocol) and None


def forked(number, *arguments):
    """For calls that make a process."""
    def probe():
        if call(number, *arguments) == 0:
            os._exit(0)
    return probe


def seen(found):
    return "seen" if found else "none"


def own_user_namespace():
    call(272 if X86 else 97, 0x10000000)
    return "ok" if os.readlink("/proc/self/ns/user") else None


def i386_call():
    """getpid of the 32-bit table, which a filter for 64 bits would not know."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()


def ptrace(pid):
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    if libc.ptrace(16, pid, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "")


def read_memory(pid, address):
    target = ctypes.create_string_buffer(8)
    vectors = (ctypes.c_ulong * 4)(ctypes.addressof(target), 8, address, 8)
    call(310 if X86 else 270, pid, ctypes.addressof(vectors), 1, ctypes.addressof(vectors) + 16, 1, 0)


def take_descriptor(pid):
    call(438, os.pidfd_open(pid), 0, 0)


def of_a_child(action):
    """The same on a process of one's own: shows that the call as such works."""
    def probe():
        child = os.fork()
        if child == 0:
            signal.pause()
        try:
            action(child)
        finally:
            os.kill(child, signal.SIGKILL)
    return probe


NUMBER = ctypes.c_long(7)


def enter_namespace_of_init():
    call(308 if X86 else 268, os.open("/proc/1/ns/mnt", os.O_RDONLY), 0)


def tiocsti(extra):
    def probe():
        main, far = os.openpty()
        call(16 if X86 else 29, far, 0x5412 | extra, b"x")
    return probe


def moves_limit(resource, by):
    """Soft and hard limit together."""
    def probe():
        limits = (ctypes.c_ulong * 2)()
        call(302 if X86 else 261, 0, resource, 0, ctypes.addressof(limits))
        limits[:] = [limits[1] + by, limits[1] + by]
        call(302 if X86 else 261, 0, resource, ctypes.addressof(limits), 0)
    return probe


def file_capabilities():
    """A program with a file capability, run by a user who has none."""
    folder = tempfile.mkdtemp(dir="/var/tmp")
    try:
        os.chmod(folder, 0o755)
        program = folder + "/cat"
        with open("/usr/bin/cat", "rb") as source, open(program, "wb") as target:
            target.write(source.read())
        os.chmod(program, 0o755)
        os.setxattr(program, "security.capability", struct.pack("<5I", 0x02000001, 1 << 1, 0, 0, 0))
        near, far = os.pipe()
        if os.fork() == 0:
            try:
                os.dup2(far, 1)
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                os.execv(program, [program, "/proc/self/status"])
            finally:
                os._exit(1)
        os.close(far)
        with open(near, encoding="utf8") as status:
            lines = [line for line in status if line.startswith("CapEff:")]
        os.wait()
        return seen([line for line in lines if int(line.split()[1], 16)])
    finally:
        for name in os.listdir(folder):
            os.unlink(folder + "/" + name)
        os.rmdir(folder)


def leave_a_chroot():
    folder = tempfile.mkdtemp(dir="/var/tmp")
    try:
        root = os.open("/", os.O_RDONLY)
        os.chroot(folder)
        os.fchdir(root)
        os.chdir("../../../../..")
        os.chroot(".")
        return seen(os.path.exists(SETTINGS["hidden"]))
    finally:
        os.rmdir(folder)


def through_processes():
    """A host file by way of any process that shows."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        ways = ["root", "cwd/../../../../../../../.."]
        for way in ways:
            try:
                os.stat(f"/proc/{pid}/{way}{SETTINGS['hidden']}")
                return "seen"
            except OSError:
                pass
    return "none"


def leaked_descriptors():
    found = [int(n) for n in os.listdir("/proc/self/fd")]
    # The listing's own is closed by now; the child's pipe is known.
    alive = [n for n in found if n > 2 and n != SETTINGS["pipe"]]
    return seen([n for n in alive if os.path.exists(f"/proc/self/fd/{n}")])


def netlink(kind, body):
    def probe():
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
            link.settimeout(10)
            link.bind((0, 0))
            link.send(struct.pack("=IHHII", 16 + len(body), kind, 5, 1, 0) + body)
            answer = link.recv(4096)
            failure = struct.unpack_from("=i", answer, 16)[0]
        if failure:
            raise OSError(-failure, "")
    return probe


def connects(address):
    def probe():
        with socket.socket() as client:
            client.setblocking(False)
            failure = client.connect_ex((address, 80))
        raise OSError(failure, "")
    return probe


def shared_memory():
    call(29 if X86 else 194, int(SETTINGS["shm"]), 0, 0)


def cgroup_files():
    try:
        return seen(os.listdir("/sys/fs/cgroup"))
    except FileNotFoundError:
        return "none"


def makes_node(mode, number):
    def probe():
        path = f"/var/tmp/towpath-{os.getpid()}"
        os.mknod(path, mode, number)
        os.unlink(path)
    return probe


def secret(action):
    return lambda: action(SETTINGS["secret"])


def device(path):
    return os.close(os.open(path, os.O_RDONLY))


MOUNTING = {
    "mount": calls(165, 40, b"none", b"/nonexistent", b"proc", 0, 0),
    "umount2": calls(166, 39, b"/nonexistent", 0),
    "pivot_root": calls(155, 41, b"/nonexistent", b"/nonexistent"),
    "move_mount": calls(429, 429, -1, b"x", -1, b"y", 0),
    "open_tree": calls(428, 428, -1, b"x", 0),
    "open_tree_attr": calls(467, 467, -1, b"x", 0, 0, 0),
    "mount_setattr": calls(442, 442, -1, b"x", 0, 0, 0),
    "fsopen": calls(430, 430, b"nonexistent", 0),
    "fsconfig": calls(431, 431, -1, 0, 0, 0, 0),
    "fsmount": calls(432, 432, -1, 0, 0),
    "fspick": calls(433, 433, -1, b"x", 0),
    "a proc over /proc": calls(165, 40, b"proc", b"/proc", b"proc", 0x20, b"hidepid=bad"),
    "a new cgroup file system": calls(165, 40, b"none", b"/proc/self", b"cgroup2", 0, b"nonexistent-option"),
    "unmasking /proc/sys": calls(166, 39, b"/proc/sys/nonexistent", 0),
}
NAMESPACES = {
    "unshare a user namespace": own_user_namespace,
    "clone a user namespace": forked(56 if X86 else 220, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0),
    "clone with high bits": forked(56 if X86 else 220, 0x10000000 | signal.SIGCHLD | BIG, 0, 0, 0, 0),
    "clone3 with set_tid": calls(435, 435, 0, 0),
    "setns": calls(308, 268, -1, 0),
    "setns to init's": enter_namespace_of_init,
    "fork": forked(56 if X86 else 220, signal.SIGCHLD, 0, 0, 0, 0),
}
KERNEL = {
    "bpf": calls(321, 280, 0, 0, 0),
    "perf_event_open": calls(298, 241, 0, 0, -1, -1, 0),
    "io_uring_setup": calls(425, 425, 0, 0),
    "io_uring_enter": calls(426, 426, -1, 0, 0, 0, 0, 0),
    "io_uring_register": calls(427, 427, -1, 0, 0, 0),
    "userfaultfd": calls(323, 282, 0xFFFF),
    "keyctl": calls(250, 219, 0, -3, 0),
    "add_key": calls(248, 217, b"user", b"k", b"v", 1, -2),
    "request_key": calls(249, 218, b"user", b"towpath", 0, -2),
    "kexec_load": calls(246, 104, 0, 17, 0, 0),
    "init_module": calls(175, 105, 0, 0, b""),
    "finit_module": calls(313, 273, -1, b"", 0),
    "delete_module": calls(176, 106, b"nonexistent", 0x800),
    "open_by_handle_at": calls(304, 265, -1, 0, 0),
    "name_to_handle_at": calls(303, 264, -1, b"x", 0, 0, 0),
    "fanotify_init": calls(300, 262, 0xFFFFFFFF, 0),
    "syslog": calls(103, 116, 10, 0, 0),
    "reboot": calls(169, 142, 0, 0, 0, 0),
    "swapon": calls(167, 224, b"/nonexistent", 0),
    "acct": calls(163, 89, b"/nonexistent"),
    "quotactl": calls(179, 60, -1, 0, 0, 0),
    "quotactl_fd": calls(443, 443, -1, 0, 0, 0),
    "clock_settime": calls(227, 112, 0, b"\xff" * 16),
    "settimeofday": calls(164, 170, b"\xff" * 16, 0),
    "adjtimex": calls(159, 171, b"\0" * 256),
    "ioperm": calls(173, 0, 0x3FF, 1, 0),
    "iopl": calls(172, 0, 0),
    "i386 calls": i386_call,
    "set_mempolicy_home_node": calls(450, 450, 1, 0, 0, 0),
}
PROCESSES = {
    "ptrace init": lambda: ptrace(1),
    "ptrace a child": of_a_child(ptrace),
    "process_vm_readv init": lambda: read_memory(1, ctypes.addressof(NUMBER)),
    "process_vm_readv a child": of_a_child(lambda pid: read_memory(pid, ctypes.addressof(NUMBER))),
    "pidfd_getfd init": lambda: take_descriptor(1),
    "pidfd_getfd a child": of_a_child(take_descriptor),
    "init's executable": opens("/proc/1/exe"),
    "init's memory": opens("/proc/1/mem"),
    "init's environment": reads("/proc/1/environ"),
    "init's root": lambda: os.listdir("/proc/1/root/") and None,
    "init's descriptors": lambda: os.listdir("/proc/1/fd") and None,
    "own executable": opens("/proc/self/exe"),
    "own memory": opens("/proc/self/mem"),
    "own root": lambda: os.listdir("/proc/self/root/") and None,
    "own descriptors": lambda: os.listdir("/proc/self/fd") and None,
    "host files through processes": through_processes,
    "leaked descriptors": leaked_descriptors,
    "raise the core limit": moves_limit(4, 1),
    "raise the file limit": moves_limit(7, 1),
    "lower the core limit": moves_limit(4, -1),
    "lower the file limit": moves_limit(7, -1),
    "nice below zero": lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
    "file capabilities": file_capabilities,
    "leave a chroot": leave_a_chroot,
    "the host's shared memory": shared_memory,
    "typing into a terminal": tiocsti(0),
    "typing with high bits": tiocsti(BIG),
}
FILES = {
    "core_pattern": opens("/proc/sys/kernel/core_pattern", os.O_WRONLY),
    "modprobe": opens("/proc/sys/kernel/modprobe", os.O_WRONLY),
    "overcommit": opens("/proc/sys/vm/overcommit_memory", os.O_WRONLY),
    "forwarding": opens("/proc/sys/net/ipv4/ip_forward", os.O_WRONLY),
    "sysrq-trigger": opens("/proc/sysrq-trigger", os.O_WRONLY),
    "pressure triggers": opens("/proc/pressure/cpu", os.O_RDWR),
    "kcore": reads("/proc/kcore"),
    "kallsyms": reads("/proc/kallsyms"),
    "keys": reads("/proc/keys"),
    "key users": reads("/proc/key-users"),
    "interrupts": reads("/proc/interrupts"),
    "timer_list": reads("/proc/timer_list"),
    "page flags": opens("/proc/kpageflags"),
    "/dev/mem": opens("/dev/mem"),
    "/dev/kmsg": opens("/dev/kmsg"),
    "/dev/fuse": opens("/dev/fuse"),
    "host disks": lambda: seen([n for n in os.listdir("/dev") if n[:2] in ("vd", "sd", "dm", "lo")]),
    "sysfs": lambda: seen(os.listdir("/sys")),
    "cgroup files": cgroup_files,
    "mknod character": makes_node(0o020600, os.makedev(1, 3)),
    "mknod block": makes_node(0o060600, os.makedev(7, 0)),
    "mknod whiteout": makes_node(0o020600, 0),
    "the host's device node": lambda: device(SETTINGS["device"]),
    "read a secret": secret(lambda path: os.close(os.open(path, os.O_RDONLY))),
    "write a secret": secret(lambda path: os.close(os.open(path, os.O_WRONLY))),
    "link a secret": secret(lambda path: os.link(path, path + ".link")),
    "chown a secret": secret(lambda path: os.chown(path, 0, 0)),
}
SOCKETS = {
    "vsock": sockets(40, socket.SOCK_STREAM),
    "kernel crypto": sockets(38, socket.SOCK_SEQPACKET),
    "packet": sockets(17),
    "packet with high bits": sockets(17 | BIG),
    "PF_KEY": sockets(15, socket.SOCK_RAW, 2),
    "XDP": sockets(44),
    "RDS": sockets(21, socket.SOCK_SEQPACKET),
    "packet filter netlink": sockets(16, socket.SOCK_RAW, 12),
    "IPsec netlink": sockets(16, socket.SOCK_RAW, 6),
    "route netlink": sockets(16, socket.SOCK_RAW, 0),
    "raw": sockets(2, socket.SOCK_RAW, 1),
    "udp": sockets(2, socket.SOCK_DGRAM),
    # RTM_NEWLINK of an interface that is nowhere; RTM_DELROUTE of a route of TEST-NET-3.
    "change an interface": netlink(16, struct.pack("=BxHiII", 0, 0, 999999, 0, 1)),
    "delete a route": netlink(25, struct.pack("=8BI", 2, 32, 0, 0, 254, 0, 0, 1, 0)
                              + struct.pack("=HH4s", 8, 1, bytes([203, 0, 113, 9]))),
    "instance metadata": connects("169.254.169.254"),
    "another address": connects("192.0.2.1"),
}
PROBES = MOUNTING | NAMESPACES | KERNEL | PROCESSES | FILES | SOCKETS


def outcome(probe):
    try:
        return probe() or "ok"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    except Exception as error:  # pylint: disable=broad-except
        return "broken:" + repr(error).replace(" ", "_")


def run(name):
    near, far = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(near)
        signal.alarm(30)
        SETTINGS["pipe"] = far
        os.write(far, outcome(PROBES[name]).encode())
        os._exit(0)
    os.close(far)
    with open(near, encoding="utf8") as answer:
        said = answer.read()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return said


def main():
    for argument in sys.argv[1:]:
        name, equals, value = argument.partition("=")
        if equals:
            SETTINGS[name] = value
            continue
        # A tab between them: names have spaces.
        print(name, run(name), sep="\t", flush=True)


main()
