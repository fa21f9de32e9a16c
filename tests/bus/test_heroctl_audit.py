# SPDX-License-Identifier: Apache-2.0
"""heroctl audit, with a journald of its own in a mount namespace. No bus: no service is asked."""

import ctypes
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest

from heroctl_fixtures import HEROCTL

TOP = pathlib.Path(__file__).resolve().parents[2]
ID = re.search(r'CATALOG_AUDIT "(\w+)"', (TOP / 'src/shared/catalog-ids.h').read_text())[1]
NOBODY = 65534
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_REC, MS_PRIVATE, MS_BIND, PR_SET_PDEATHSIG = 0x20000, 0x4000, 1 << 18, 0x1000, 1

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists('/lib/systemd/systemd-journald'),
                                reason='needs root and systemd-journald')


def check(r):
    if r < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Journald:
    def __init__(self, directory):
        self.machine_id = directory / 'machine-id'
        self.machine_id.write_text('0123456789abcdef0123456789abcdef\n')
        self.process = subprocess.Popen(['/lib/systemd/systemd-journald'], preexec_fn=self.become, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.root = pathlib.Path(f'/proc/{self.process.pid}/root')
        # When the first file is there, it is ready.
        self.wait(lambda: list((self.root / 'run/log/journal').glob('*/system.journal')))
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.connect(str(self.root / 'run/systemd/journal/socket'))

    def become(self):
        check(LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0))
        check(LIBC.unshare(CLONE_NEWNS))
        check(LIBC.mount(b'none', b'/', None, MS_REC | MS_PRIVATE, None))
        for where in (b'/run', b'/var/log'):
            check(LIBC.mount(b'none', where, b'tmpfs', 0, None))
        check(LIBC.mount(bytes(self.machine_id), b'/etc/machine-id', None, MS_BIND, None))
        os.makedirs('/run/systemd/journal')
        os.makedirs('/run/log/journal')

    @staticmethod
    def wait(condition, seconds=20):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, 'waited in vain'
            time.sleep(0.02)

    def enter(self, uid=0):
        def f():
            fd = os.open(f'/proc/{self.process.pid}/ns/mnt', os.O_RDONLY)
            check(LIBC.setns(fd, CLONE_NEWNS))
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
        return f

    def send(self, **fields):
        self.socket.send(''.join(f'{k}={v}\n' for k, v in fields.items()).encode())

    def entry(self, action, result='ok', **fields):
        self.send(**{'MESSAGE_ID': ID, 'MESSAGE': 'Audit: …', 'AUDIT_ROAD': 'bus', 'AUDIT_UID': 0, 'AUDIT_SUBJECT': 'root',
                     'AUDIT_ACTION': action, 'AUDIT_RESULT': result, 'AUDIT_DURATION_USEC': 1500} | fields)

    def start(self, *arguments, uid=0):
        return subprocess.Popen([HEROCTL, 'audit', *arguments], preexec_fn=self.enter(uid), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env={**os.environ, 'LC_ALL': 'C.UTF-8', 'TZ': 'UTC'})

    def run(self, *arguments, uid=0, check=0):
        p = self.start(*arguments, uid=uid)
        out, err = p.communicate(timeout=60)
        assert 'Sanitizer' not in err, err
        assert p.returncode == check, (p.returncode, out, err)
        return out, err

    def json(self, *arguments):
        return json.loads(self.run('--json=short', *arguments)[0])

    def actions(self, *arguments):
        return [e['action'] for e in self.json(*arguments)]

    def has(self, n):
        """So many are in the journal."""
        self.wait(lambda: len(self.json('--since=@0')) >= n)

    def close(self):
        self.socket.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def journal(tmp_path):
    j = Journald(tmp_path)
    yield j
    j.close()


@pytest.fixture
def some(journal):
    journal.entry('Manager.ProvisionUser', AUDIT_UID=12001, AUDIT_SUBJECT='alice', HERO_VM='home', HERO_USER='alice')
    journal.entry('VM.Stop', 'refused', AUDIT_UID=NOBODY, AUDIT_SUBJECT='', HERO_VM='home', HERO_USER='alice',
                  AUDIT_ERROR='Permission denied.')
    journal.entry('user.start', AUDIT_ROAD='http', HERO_VM='bobs', HERO_USER='bob', AUDIT_DURATION_USEC=2500000)
    journal.entry('Images.Remove', 'ImageInUse', HERO_IMAGE='debian:12', AUDIT_ERROR="VM 'home' uses the image debian:12.")
    journal.send(MESSAGE_ID='66e6f186b8374d3b96c6da884422bce0', MESSAGE='another', HERO_VM='home')
    journal.has(4)
    return journal


def test_table_says_who_did_what_and_how_it_ended(some):
    assert some.run()[0].split('\n')[0].split() == ['TIME', 'WHO', 'ROAD', 'ACTION', 'OF', 'USER', 'RESULT', 'TOOK', 'ERROR']
    rows = [re.sub(r'^\S+ \S+ UTC ', '', re.sub(' +', ' ', line)) for line in some.run('--no-legend')[0].splitlines()]
    assert [r.strip() for r in rows] == [
        'alice bus Manager.ProvisionUser home alice ok 1ms -',
        'nobody bus VM.Stop home alice refused 1ms Permission denied.',
        'root http user.start bobs bob ok 2.5s -',
        "root bus Images.Remove debian:12 - ImageInUse 1ms VM 'home' uses the image debian:12."]
    assert '4 changes listed.' in some.run()[0]


def test_json_has_every_field(some):
    entries = some.json()
    assert entries[1] == {'time': entries[1]['time'], 'uid': NOBODY, 'subject': None, 'road': 'bus', 'action': 'VM.Stop',
                          'vm': 'home', 'image': None, 'user': 'alice', 'result': 'refused', 'duration-usec': 1500,
                          'error': 'Permission denied.'}
    assert re.fullmatch(r'20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ', entries[1]['time'])
    assert (entries[3]['image'], entries[3]['vm'], entries[2]['duration-usec']) == ('debian:12', None, 2500000)


def test_it_is_filtered(some):
    assert some.actions('--user=alice') == ['Manager.ProvisionUser', 'VM.Stop']
    assert some.actions('--vm=bobs') == ['user.start']
    assert some.actions('--user=bob', '--vm=home') == []
    assert some.actions('--action=VM.Stop') == ['VM.Stop']
    assert some.actions('--action=*.St*') == ['VM.Stop']
    assert some.actions('--action=*st*') == ['user.start']
    assert some.actions('-n', '2') == ['user.start', 'Images.Remove']
    assert some.actions('-n', '1', '--action=*.Stop') == ['VM.Stop']
    assert some.actions('-n', '1', '--user=alice') == ['VM.Stop']
    assert some.run('--json=short', '--user=nobody-here')[0] == '[]\n'


def test_times_limit_it(journal):
    for i in range(3):
        journal.entry(f'VM.N{i}')
        journal.has(i + 1)
        time.sleep(1.2)
    times = [json.loads(line)['__REALTIME_TIMESTAMP'] for line in subprocess.run(
        ['journalctl', '-o', 'json', f'MESSAGE_ID={ID}'], preexec_fn=journal.enter(), capture_output=True, text=True,
        check=True).stdout.splitlines()]
    seconds = [int(t) // 10**6 for t in times]
    assert journal.actions(f'--since=@{seconds[0] + 1}') == ['VM.N1', 'VM.N2']
    assert journal.actions(f'--until=@{seconds[1] + 1}') == ['VM.N0', 'VM.N1']
    assert journal.actions(f'--until=@{seconds[1] + 1}', '-n1') == ['VM.N1']
    assert journal.actions(f'--since=@{seconds[0] + 1}', f'--until=@{seconds[1] + 1}') == ['VM.N1']
    assert journal.actions('--since=1h ago') == ['VM.N0', 'VM.N1', 'VM.N2']
    assert journal.actions('--until=1h ago') == []
    assert "'today'" in journal.run('--since=whenever', check=2)[1]
    assert 'do not go together' in journal.run('-f', '--until=now', check=2)[1]


def test_the_last_hundred_are_shown_and_all_with_a_time(journal):
    for i in range(150):
        journal.entry(f'VM.N{i}')
    journal.has(150)
    assert journal.actions() == [f'VM.N{i}' for i in range(50, 150)]
    assert journal.actions('--since=1h') == [f'VM.N{i}' for i in range(150)]
    assert journal.actions('--lines=120') == [f'VM.N{i}' for i in range(30, 150)]


def test_what_somebody_else_wrote_is_not_shown(some):
    forged = ''.join(f'{k}={v}\n' for k, v in {'MESSAGE_ID': ID, 'MESSAGE': 'x', 'AUDIT_ACTION': 'VM.Delete', 'AUDIT_UID': 0,
                                              'AUDIT_RESULT': 'ok'}.items())
    subprocess.run(['logger', '--journald'], input=forged, text=True, preexec_fn=some.enter(NOBODY), check=True)
    there = lambda: subprocess.run(['journalctl', '-o', 'cat', 'AUDIT_ACTION=VM.Delete'], preexec_fn=some.enter(),
                                   capture_output=True, text=True).stdout
    some.wait(there)
    assert len(some.json()) == 4


def test_what_callers_made_up_does_not_reach_the_terminal(journal):
    journal.entry('VM.Start', HERO_VM='\033[2Jx\u202e', AUDIT_ERROR='\033]0;title\a', AUDIT_RESULT='Failed')
    journal.has(1)
    assert '\033' not in journal.run()[0] and '\a' not in journal.run()[0]


def test_who_may_not_read_the_journal_is_told_so(some):
    out, err = some.run(uid=NOBODY, check=5)
    assert out == '' and 'systemd-journal' in err and len(err.splitlines()) == 1


def test_without_a_journal_it_says_so(journal):
    subprocess.run(['rm', '-r', '/run/log/journal'], preexec_fn=journal.enter(), check=True)
    out, err = journal.run(check=1)
    assert out == '' and 'no journal' in err


def test_it_follows(some):
    p = some.start('-f', '-n1', '--json=short')
    first = json.loads(p.stdout.readline())
    assert first['action'] == 'Images.Remove'
    some.entry('VM.Start', HERO_VM='web')
    some.entry('VM.Stop', HERO_VM='web')
    assert [json.loads(p.stdout.readline())['action'] for _ in range(2)] == ['VM.Start', 'VM.Stop']
    p.stdout.close()
    assert p.wait(20) == 128 + signal.SIGPIPE
    p.stderr.close()


def test_it_follows_in_words_from_nothing_on(journal):
    p = journal.start('--follow', '--vm=web')
    time.sleep(0.5)
    journal.entry('VM.Start', HERO_VM='other')
    journal.entry('VM.Stop', 'Busy', HERO_VM='web', AUDIT_ERROR='It is busy.')
    assert re.fullmatch(r'20\S+ \S+ UTC bus by root: VM\.Stop of web: Busy after 1ms: It is busy\.\n', p.stdout.readline())
    p.stdout.close()
    p.wait(20)
    p.stderr.close()
