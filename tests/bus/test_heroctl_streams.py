# SPDX-License-Identifier: Apache-2.0
"""exec, console, logs, events and job progress: everything of heroctl that moves bytes or waits."""

import hashlib
import json
import os
import random
import subprocess
import time

from heroctl_fixtures import *


def test_exec_passes_output_and_status_on(bus):
    r = bus.run('exec', 'web', '--', 'sh', '-c', 'echo out; echo err >&2; exit 7', check=7)
    assert (r.stdout, r.stderr) == (b'out\n', b'err\n')


def test_exec_status_of_signals_and_commands_that_cannot_run(bus, tmp_path):
    bus.run('exec', 'web', '--', 'sh', '-c', 'kill -9 $$', check=137)
    assert bus.error('exec', 'web', '--', 'nosuch', check=127) == (
        "Failed to execute 'nosuch' in VM 'web': No such file or directory.\n")
    plain = tmp_path / 'plain'
    plain.write_text('')
    bus.error('exec', 'web', '--', str(plain), check=126)
    assert 'Lost the command' in bus.error('exec', 'web', '--', 'vanish', check=125)
    assert 'no agent' in bus.error('exec', 'db', '--', 'true', check=125)
    assert 'no VM' in bus.error('exec', 'nope', '--', 'true', check=125)
    bus.error('exec', 'web', check=2)
    bus.error('exec', 'web', '--', check=125)


def test_exec_options(bus):
    out = bus.text('exec', '-e', 'A=1', 'web', '-u', 'bob', '-w', '/usr', '-e', 'B=x=y', '--', 'sh', '-c',
                   'echo $A $B $FAKE_USER $PWD')
    assert out == '1 x=y bob /usr\n'
    assert bus.text('exec', 'web', 'echo', '-n', '--', '-e') == '-- -e'


def test_exec_without_i_has_no_input(bus):
    r = bus.run('exec', 'web', 'cat', input=b'not for it', check=0)
    assert r.stdout == b''


def test_exec_input_end_of_file_is_passed_on(bus):
    r = bus.run('exec', '-i', 'web', 'cat', input=b'a\0b\n', check=0)
    assert r.stdout == b'a\0b\n'


def test_exec_loses_nothing_in_either_direction(bus):
    data = random.Random(1).randbytes(20 << 20)
    r = bus.run('exec', '-i', 'web', '--', 'cat', input=data, check=0)
    assert hashlib.sha256(r.stdout).digest() == hashlib.sha256(data).digest()


def test_exec_from_and_to_files(bus, tmp_path):
    data = random.Random(2).randbytes(3 << 20)
    (tmp_path / 'in').write_bytes(data)
    with open(tmp_path / 'in', 'rb') as i, open(tmp_path / 'out', 'ab') as o:
        o.write(b'before')
        o.flush()
        subprocess.run([HEROCTL, 'exec', '-i', 'web', 'cat'], env=bus.environment, stdin=i, stdout=o, check=True)
    assert (tmp_path / 'out').read_bytes() == b'before' + data


def test_exec_result_that_overtakes_the_output_waits_for_it(bus):
    """The status comes on another socket than the output: nothing may be lost whichever is first."""
    assert bus.text('exec', 'web', 'early') == 'late' * 100000
    for _ in range(3):
        assert len(bus.run('exec', 'web', '--', 'head', '-c', '3000000', '/dev/zero', check=0).stdout) == 3000000


def test_exec_slow_reader_gets_everything(bus):
    p = bus.start('exec', 'web', '--', 'head', '-c', '1000000', '/dev/zero', stdout=subprocess.PIPE)
    time.sleep(0.5)
    assert len(p.stdout.read()) == 1000000 and p.wait(10) == 0


def test_exec_reader_that_leaves_ends_it(bus):
    p = bus.start('exec', 'web', '--', 'yes', stdout=subprocess.PIPE)
    p.stdout.read(10)
    p.stdout.close()
    assert p.wait(10) == 141


def test_exec_leaves_the_flags_of_shared_descriptors_alone(bus):
    r, w = os.pipe()
    bus.start('exec', '-i', 'web', 'true', stdin=r, stdout=w).wait(10)
    assert os.get_blocking(r) and os.get_blocking(w)
    os.close(r)
    os.close(w)


def test_exec_forwards_signals_without_a_terminal(bus):
    for number, expected in ((signal.SIGTERM, b'TERM'), (signal.SIGINT, b'INT'), (signal.SIGUSR1, b'USR1')):
        script = f'trap "echo {expected.decode()}; exit 9" {expected.decode()}; echo up; while :; do sleep 0.1; done'
        p = bus.start('exec', 'web', '--', 'sh', '-c', script, stdout=subprocess.PIPE)
        assert p.stdout.readline() == b'up\n'
        p.send_signal(number)
        assert p.communicate(timeout=10)[0] == expected + b'\n' and p.returncode == 9


def test_exec_third_interrupt_leaves(bus):
    p = bus.start('exec', 'web', '--', 'sh', '-c', 'trap "" INT; echo up; sleep 30', stdout=subprocess.PIPE)
    p.stdout.readline()
    for _ in range(3):
        time.sleep(0.1)
        p.send_signal(signal.SIGINT)
    assert p.wait(10) == 130
    p.stdout.close()


def test_exec_with_a_terminal(bus, terminal):
    t = terminal('exec', '-it', 'web', '--', 'sh', '-c', 'echo "$TERM"; stty size; read x; echo "<$x>"; exit 5',
                 rows=33, columns=77, TERM='vt220')
    t.expect(b'vt220\r\n33 77\r\n')
    assert t.is_raw()
    t.type(b'hello\r')
    t.expect(b'<hello>')
    assert t.wait() == 5
    assert t.mode_is_as_before()


def test_exec_resize_reaches_the_command(terminal):
    t = terminal('exec', '-it', 'web', '--', 'sh', '-c', 'trap "stty size" WINCH; echo up; while :; do sleep 0.1; done')
    t.expect(b'up')
    t.resize(11, 22)
    t.expect(b'11 22')
    t.type(b'\x03')
    assert t.wait() == 130
    assert t.mode_is_as_before()


def test_terminal_is_restored_when_a_signal_ends_exec(terminal):
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGSEGV):
        t = terminal('exec', '-it', 'web', '--', 'sh', '-c', 'echo up; sleep 20', ASAN_OPTIONS='handle_segv=0')
        t.expect(b'up')
        assert t.is_raw()
        t.process.send_signal(number)
        t.wait()
        assert t.mode_is_as_before(), number


def test_console_escape_and_echo(bus, terminal):
    t = terminal('console', 'web')
    t.expect(rb"Press Ctrl-\] three times within 1s to leave")
    t.expect(b'history\r\n')
    assert t.is_raw()
    t.type(b'abc\x03')
    t.expect(rb'<abc\x03>')
    t.type(b'\x1d\x1d')
    t.expect(rb'<\x1d\x1d>')
    t.type(b'x')
    t.expect(b'<x>')
    t.type(b'\x1d')
    time.sleep(0.2)
    t.type(b'\x1d\x1d')
    t.expect(b"Left VM 'web'")
    assert t.wait() == 0
    assert t.mode_is_as_before()


def test_console_three_slow_presses_do_not_leave(terminal):
    t = terminal('console', 'web')
    t.expect(b'history')
    for _ in range(3):
        t.type(b'\x1d')
        time.sleep(0.6)
    t.type(b'quit')
    t.expect(b"End of the console of VM 'web'")
    assert t.wait() == 0 and t.mode_is_as_before()


def test_console_in_a_script(bus):
    r = bus.run('console', 'web', '--no-history', input=b'\x1d\x1d\x1d quit', check=0)
    assert r.stdout == b'<\x1d\x1d\x1d quit>'


def test_console_terminal_is_restored_after_sigterm(terminal):
    t = terminal('console', 'web')
    t.expect(b'history')
    t.process.send_signal(signal.SIGTERM)
    assert t.wait() == 143 and t.mode_is_as_before()


def test_console_goes_raw_again_after_a_stop(terminal):
    t = terminal('console', 'web')
    t.expect(b'history')
    t.process.send_signal(signal.SIGTSTP)
    wait_until(lambda: not t.is_raw())
    assert t.mode_is_as_before()
    t.process.send_signal(signal.SIGCONT)
    wait_until(t.is_raw)
    t.type(b'\x1d\x1d\x1d')
    assert t.wait() == 0


def test_logs_to_a_pipe_are_what_the_guest_wrote(bus):
    assert bus.run('logs', 'web', check=0).stdout == (
        b'first line\r\n\x1b[2J\x1b]0;title\x07second \x1b[31mred\x1b[0m line\r\nthird\xff line\r\n')


def test_logs_on_a_terminal_keep_colours_only(terminal):
    t = terminal('logs', 'web')
    t.expect(rb'first line\r\r\nsecond \x1b\[31mred\x1b\[0m line\r\r\n')
    assert t.wait() == 0
    t = terminal('logs', 'web', '--raw')
    t.expect(rb'\x1b\[2J\x1b\]0;title')
    assert t.wait() == 0


def test_logs_last_lines_and_bytes(bus):
    assert bus.text('logs', 'db', '-n', '2') == 'line 29\nline 30\n'
    assert bus.text('logs', 'db', '-n', '0.008K') == 'line 30\n'
    assert bus.text('logs', 'db', '-n', '1000').count('\n') == 30
    assert bus.text('logs', 'db') == bus.text('logs', 'db', '-n', 'all')


def test_logs_follow_until_the_reader_leaves(bus):
    p = bus.start('logs', '-f', '-n', '1', 'db', stdout=subprocess.PIPE)
    assert [p.stdout.readline() for _ in range(3)] == [b'line 30\n', b'more 0\n', b'more 1\n']
    p.stdout.close()
    assert p.wait(10) == 141
    wait_until(lambda: 'log reader left' in bus.calls())


def test_logs_follow_is_interrupted(bus):
    p = bus.start('logs', '-f', 'db', stdout=subprocess.PIPE)
    p.stdout.readline()
    p.send_signal(signal.SIGINT)
    assert p.wait(10) == -signal.SIGINT
    p.stdout.close()


def test_events_read_all_pages(bus):
    events = json.loads(bus.text('events', '--json'))
    assert [e['sequence'] for e in events] == list(range(1, 10))
    assert events[0] == {'sequence': 1, 'time': '2026-11-18T11:06:40Z', 'vm': 'web', 'from': 'pending', 'to': 'running',
                         'reason': 'made'}
    assert 'pending  running' in ' '.join(bus.text('events', 'web').split('\n')[1].split()[4:]).replace(' ', '  ')
    assert [e['vm'] for e in json.loads(bus.text('events', '--json', 'web'))] == ['web']
    assert [e['sequence'] for e in json.loads(bus.text('events', '--json', '--since', '7'))] == [8, 9]


def test_events_follow_has_no_gap_and_no_double(bus):
    p = bus.start('events', '-f', '--json', stdout=subprocess.PIPE)
    for i in range(20):
        bus.call('Move', 'web', 'stopped' if i % 2 else 'running', f'step {i}')
    sequences = [json.loads(p.stdout.readline())['sequence'] for _ in range(29)]
    assert sequences == list(range(1, 30))
    p.terminate()
    p.wait(10)
    p.stdout.close()


def test_events_follow_through_a_restart_of_the_service(bus):
    p = bus.start('events', '-f', '--since', '9', '--json', stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    bus.call('Move', 'web', 'stopped', 'before')
    assert json.loads(p.stdout.readline())['reason'] == 'before'
    bus.call('Crash')
    assert b'the service ended' in p.stderr.readline()
    assert json.loads(p.stdout.readline())['reason'] == 'while away'
    p.terminate()
    p.communicate(timeout=10)


def test_events_follow_of_one_vm_in_text(bus):
    p = bus.start('events', '-f', 'web', stdout=subprocess.PIPE)
    assert p.stdout.readline() == '2026-11-18 11:06:40 UTC web: pending → running: made\n'.encode()
    bus.call('Move', 'db', 'running', 'other')
    bus.call('Move', 'web', 'stopped', 'bad\x1btext')
    assert p.stdout.readline().endswith('web: running → stopped: bad?text\n'.encode())
    p.terminate()
    p.wait(10)
    p.stdout.close()


def test_json_is_json_in_any_locale(bus):
    bus.call('Move', 'web', 'stopped', 'ü "quoted" \\ \t → \x01')
    for locale in ('C', 'C.UTF-8'):
        bus.environment['LC_ALL'] = locale
        assert json.loads(bus.text('events', '--json', '--since', '9'))[0]['reason'] == 'ü "quoted" \\   → ?', locale


def test_events_follow_ends_when_the_reader_leaves(bus):
    p = bus.start('events', '-f', stdout=subprocess.PIPE)
    p.stdout.readline()
    p.stdout.close()
    assert p.wait(10) == 141


def test_job_shows_progress_after_a_second(terminal):
    t = terminal('start', 'slow-1')
    t.expect(rb"start VM 'slow-1': disk \d+ % \([\d.]+M of 30M\), 1\.\ds")
    assert t.wait() == 0
    assert t.seen.endswith(b'\r\x1b[K') or t.seen == b'', 'the line is gone in the end'


def test_quick_job_shows_no_progress(terminal):
    t = terminal('start', 'db')
    assert t.wait() == 0 and t.seen == b''


def test_progress_is_for_terminals(bus):
    r = bus.run('start', 'slow-1', check=0)
    assert r.stdout == r.stderr == b''


def test_interrupt_cancels_the_job(bus, terminal):
    t = terminal('start', 'stuck-1')
    t.expect(b'waiting|disk')
    t.type(b'\x03')
    t.expect(b"Canceling")
    t.expect(rb"Canceled: start VM 'stuck-1'\.")
    assert t.wait() == 130
    assert 'Cancel stuck-1' in bus.calls()


def test_job_that_cannot_be_canceled_is_waited_for(bus):
    p = bus.start('delete', 'firm-1', stderr=subprocess.PIPE)
    time.sleep(0.7)
    p.send_signal(signal.SIGINT)
    out = p.communicate(timeout=20)[1].decode()
    assert 'cannot be canceled' in out and p.returncode == 0


def test_second_interrupt_leaves_the_job_to_itself(bus):
    p = bus.start('delete', 'firm-1', stderr=subprocess.PIPE)
    time.sleep(0.7)
    p.send_signal(signal.SIGINT)
    time.sleep(0.3)
    p.send_signal(signal.SIGINT)
    out = p.communicate(timeout=2)[1].decode()
    assert 'the service goes on' in out and p.returncode == 130


def test_no_wait_returns_at_once(bus):
    begun = time.monotonic()
    bus.text('start', '--no-wait', 'stuck-1')
    assert time.monotonic() - begun < 2
