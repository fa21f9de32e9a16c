# SPDX-License-Identifier: Apache-2.0
"""The completions, run by the shells themselves against the fake service."""

import os
import re
import shlex
import subprocess

from heroctl_fixtures import *

SOURCE = HERE.parent.parent
VERBS = ['provision', 'deprovision', 'list', 'status', 'run', 'create', 'start', 'stop', 'restart', 'suspend', 'hibernate',
         'resume', 'delete', 'set-resources', 'touch', 'hold', 'set-idle', 'console', 'exec', 'logs', 'top', 'events', 'wait', 'whois', 'audit',
         'image', 'doctor']


def complete(bus, line, point=None):
    """What bash offers at the end of the line."""
    script = f'''source {shlex.quote(str(SOURCE / 'completion/bash/heroctl'))}
COMP_LINE={shlex.quote(line)} COMP_POINT={len(line) if point is None else point}
read -ra COMP_WORDS <<<"$COMP_LINE"
[[ $COMP_LINE == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_heroctl heroctl "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"'''
    r = subprocess.run(['bash', '--norc', '-c', script], capture_output=True, text=True, timeout=30,
                       env={**bus.environment, 'PATH': f'{HEROCTL.parent}:{os.environ["PATH"]}'})
    assert r.returncode == 0 and r.stderr == '', r.stderr
    return sorted(r.stdout.split())


def long_options(text):
    return {f'--{m}' for m in re.findall(r'^  .{3} --([a-z-]+)', text, re.M)}


def test_bash_completes_verbs(bus):
    assert complete(bus, 'heroctl ') == sorted(VERBS)
    assert complete(bus, 'heroctl sta') == ['start', 'status']
    assert complete(bus, 'heroctl --json=short --no-legend ev') == ['events']
    assert complete(bus, 'heroctl image ') == ['import', 'list', 'prune', 'pull', 'rm', 'show']


def test_bash_completes_live_names_by_state(bus):
    assert complete(bus, 'heroctl status d') == ['db', 'dbus-1']
    assert 'db' in complete(bus, 'heroctl start ') and 'web' not in complete(bus, 'heroctl start ')
    assert complete(bus, 'heroctl resume ') == ['dbus-1']
    assert complete(bus, 'heroctl suspend ') == ['alice', 'web']
    assert complete(bus, 'heroctl hibernate ') == ['alice', 'dbus-1', 'web']
    assert complete(bus, 'heroctl hold w') == ['web'] and complete(bus, 'heroctl hold web ') == []
    assert complete(bus, 'heroctl set-idle web --idle-timeout ') == ['never']
    assert complete(bus, 'heroctl start db slow') == ['slow-1']
    assert complete(bus, 'heroctl logs -n 5 -f w') == ['web']
    assert complete(bus, 'heroctl exec -it -u root w') == ['web']
    assert complete(bus, 'heroctl exec web l') == []
    assert complete(bus, 'heroctl exec web -- ') == []
    assert complete(bus, 'heroctl console web ') == []
    bus.text('delete', 'web')
    assert complete(bus, 'heroctl status w') == []


def test_bash_completes_users_images_states_and_files(bus, tmp_path):
    assert complete(bus, 'heroctl deprovision ') == ['alice']
    assert 'root' in complete(bus, 'heroctl provision ro')
    assert complete(bus, 'heroctl create x --image b') == ['busybox:latest']
    assert complete(bus, 'heroctl create x --image=b') == ['busybox:latest']
    assert complete(bus, 'heroctl image rm busybox:l') == ['latest']
    assert complete(bus, 'heroctl image pull --platform linux/arm64 bu') == ['busybox:latest']
    assert complete(bus, 'heroctl image show registry.example:5000/t') == ['5000/team/app:1']
    assert complete(bus, 'heroctl image show busybox ') == []
    assert complete(bus, 'heroctl run --rm -it -n x bu') == ['busybox:latest']
    assert complete(bus, 'heroctl run busybox l') == []
    assert complete(bus, 'heroctl image pull x --platform linux/a') == ['linux/amd64', 'linux/arm64']
    assert complete(bus, 'heroctl wait web --state st') == ['start-failed', 'starting', 'stopped', 'stopping']
    assert complete(bus, 'heroctl wait web --state=sus') == ['suspended', 'suspending']
    assert complete(bus, 'heroctl list --json=') == ['pretty', 'short']
    (tmp_path / 'root.tar').touch()
    assert complete(bus, f'heroctl image import name {tmp_path}/ro') == [f'{tmp_path}/root.tar']


def test_bash_completes_exactly_the_options_there_are(bus):
    for verb in [v for v in VERBS if v != 'image'] + [f'image {v}' for v in ('import', 'list', 'prune', 'pull', 'rm', 'show')]:
        expected = long_options(bus.text(*verb.split(), '--help'))
        assert set(complete(bus, f'heroctl {verb} --')) == expected - {'--version'}, verb
    assert set(complete(bus, 'heroctl --')) == long_options(bus.text('--help'))


def test_bash_without_a_service_offers_nothing_and_is_silent(empty_bus):
    assert complete(empty_bus, 'heroctl status ') == []


def test_zsh_completes_verbs_and_names(bus, terminal, tmp_path):
    (tmp_path / '.zshrc').write_text(f'''fpath=({SOURCE}/completion/zsh $fpath)
PATH={HEROCTL.parent}:$PATH PS1='%% ' 
unsetopt zle_bracketed_paste prompt_sp
autoload -Uz compinit && compinit -u -D
zstyle ':completion:*' list-prompt ''
echo up
''')
    t = terminal(argv=['zsh', '-d', '-i'], ZDOTDIR=str(tmp_path), TERM='dumb', HOME=str(tmp_path))
    t.expect(b'up')
    t.type(b'heroctl deprov\t')
    t.expect(b'deprovision ')
    t.type(b'al\t')
    t.expect(b'alice')
    t.type(b'\x15heroctl resume \t')
    t.expect(b'dbus-1')
    t.type(b'\x15heroctl image rm bu\t')
    t.expect(rb'busybox\\?:latest')
    t.type(b'\x15heroctl run --rm -it sys\t')
    t.expect(rb'system\\?:latest')
    t.type(b'\x15heroctl set-resources web --cpu-w\t')
    t.expect(b'--cpu-weight=')
    t.type(b'\x15exit\r')
    t.wait()
