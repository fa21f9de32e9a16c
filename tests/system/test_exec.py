# SPDX-License-Identifier: Apache-2.0
"""Commands in a real guest, and its console."""

import hashlib
import os
import signal
import subprocess
import time

import pytest

from throwaway import STATE, end, wait_until


@pytest.fixture
def alice(host):
    host.heroctl('provision', 'alice', timeout=120)
    return host


def run(host, *words, **kwargs):
    return host.heroctl('exec', *words, check=False, **kwargs)


def test_status_signal_and_failure_come_back(alice):
    assert run(alice, 'alice', '--', 'sh', '-c', 'exit 42').status == 42
    assert run(alice, 'alice', '--', 'sh', '-c', 'kill -TERM $$').status == 128 + signal.SIGTERM
    assert run(alice, 'alice', '--', '/no/such/program').status == 127
    assert run(alice, 'alice', '--', '/etc/passwd').status == 126
    assert run(alice, 'nobody-has-this', '--', 'true').status == 125


def test_stdin_stdout_and_stderr_are_three_things(alice):
    r = run(alice, '-i', 'alice', '--', 'sh', '-c', 'read a; echo "out $a"; echo err >&2', input='in\n')
    assert (r.status, r.out, r.err) == (0, 'out in\n', 'err\n')


def test_environment_directory_and_user(alice):
    r = run(alice, '-e', 'COLOUR=dark blue', '-w', '/tmp', '-u', 'nobody', 'alice', '--', 'sh', '-c',
            'echo "$COLOUR"; pwd; id -un')
    assert r.out.splitlines() == ['dark blue', '/tmp', 'nobody']


def test_words_reach_the_command_as_they_are(alice):
    word = 'a  "b" $c `d` \\e *'
    assert run(alice, 'alice', '--', 'printf', '%s', word).out == word


def test_megabytes_both_ways_arrive_whole(alice):
    data = os.urandom(4 << 20)
    p = subprocess.run(alice.words(['heroctl', 'exec', '-i', 'alice', '--', 'cat']), input=data, stdout=subprocess.PIPE,
                       timeout=120, check=True)
    assert hashlib.sha256(p.stdout).digest() == hashlib.sha256(data).digest()


def test_a_reader_that_stops_costs_bounded_memory_and_holds_nobody_up(alice):
    pid = alice.unit('hero-computed', 'MainPID')

    def rss():
        return int(alice.run(['sh', '-c', f'grep VmRSS /proc/{pid}/status']).out.split()[1])
    before = rss()
    reader = alice.popen(['heroctl', 'exec', 'alice', '--', 'sh', '-c', 'exec cat /dev/zero'])
    try:
        time.sleep(3)
        assert run(alice, 'alice', '--', 'echo', 'there').out == 'there\n'
        assert rss() - before < 16 << 10, 'KiB'
    finally:
        end(reader)


def test_a_command_ends_when_its_caller_goes(alice):
    caller = alice.popen(['heroctl', 'exec', 'alice', '--', 'sleep', '1234'])
    wait_until(lambda: 'sleep 1234' in run(alice, 'alice', '--', 'ps').out, 'it runs')
    end(caller)
    wait_until(lambda: 'sleep 1234' not in run(alice, 'alice', '--', 'ps').out, 'it is gone')


def test_several_commands_at_once(alice):
    commands = [alice.popen(['heroctl', 'exec', 'alice', '--', 'sh', '-c', f'sleep 0.3; echo {i}']) for i in range(8)]
    assert [c.communicate(timeout=60)[0] for c in commands] == [f'{i}\n'.encode() for i in range(8)]


def test_a_terminal_has_the_size_of_ours_and_passes_keys_on(alice):
    script = "stty rows 33 cols 101; heroctl exec -it alice -- sh -c 'stty size; tty; cat -v'"
    p = alice.popen(['script', '-qec', script, '/dev/null'])
    try:
        seen = b''
        deadline = time.monotonic() + 20
        while b'/dev/pts' not in seen and time.monotonic() < deadline:
            seen += p.stdout.read1(4096)
        assert b'33 101' in seen, seen
        p.stdin.write(b'abc\n\x04')
        p.stdin.flush()
        assert p.wait(timeout=20) == 0
        assert b'abc' in p.stdout.read()
    finally:
        end(p)


def test_console_shows_history_and_takes_input_and_its_escape_leaves(alice):
    script = 'heroctl console alice'
    p = alice.popen(['script', '-qec', script, '/dev/null'])
    try:
        seen, deadline = b'', time.monotonic() + 30
        while b'Press Enter' not in seen and time.monotonic() < deadline:
            seen += p.stdout.read1(4096)
        for text in (b'\r', b'echo $((6*7))-is-it\r'):
            p.stdin.write(text)
            p.stdin.flush()
            time.sleep(0.5)
        while b'42-is-it' not in seen and time.monotonic() < deadline:
            seen += p.stdout.read1(4096)
        assert b'42-is-it' in seen, seen
        p.stdin.write(b'\x1d\x1d\x1d')
        p.stdin.flush()
        assert p.wait(timeout=10) == 0
    finally:
        end(p)
    assert '42-is-it' in alice.heroctl('logs', 'alice').out


def test_a_guest_that_writes_without_end_costs_bounded_memory_and_disk(host):
    host.mock('chatty', script='console-flood=50000000')
    pid = host.unit('hero-computed', 'MainPID')
    time.sleep(4)
    size = int(host.run(f'du -sk --apparent-size {STATE}/vms/chatty --exclude=overlay*').out.split()[0])
    assert size < 16 << 10, 'KiB of records and console'
    rss = int(host.run(f'grep VmRSS /proc/{pid}/status').out.split()[1])
    assert rss < 200 << 10, 'KiB, with sanitizers'
    began = time.monotonic()
    host.heroctl('list')
    assert time.monotonic() - began < 2
    host.heroctl('stop', 'chatty')
