# SPDX-License-Identifier: Apache-2.0
"""Transcripts of JSON-RPC: what is sent and what comes back, as somebody would write it down.

    # a comment
    as alice                          from here on; root at first
    > {"method": "vm.get", …}         a request; "jsonrpc" and "id" are added where it is an object without them
    < {"name": "web", …}              its result
    ! {"code": -32003, …}             or its error
    $ command                         on the host, by root

An object in an answer may have members that the transcript does not name. A string "<word>" stands for any string that matches the
pattern of that word; "<word:name>" keeps it, and "{name}" in what follows is that. "<any>" is anything at all. Lines that begin with
white space go on."""

import json
import re

PATTERNS = {
    'id': r'[0-9a-f]{12}',
    'time': r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ',
    'ip': r'[0-9a-f:]+',
    'ip4': r'\d+\.\d+\.\d+\.\d+/32',
    'tap': r'tap-[0-9a-f]{8}',
    'job': r'\d+',
    'digest': r'sha256:[0-9a-f]{64}',
    'text': r'(?s:.+)',
    'version': r'[0-9.]+',
}


def steps(text):
    """(line number, kind, rest)"""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line[:1] in (' ', '\t') and line.strip():
            found[-1][2] += ' ' + line.strip()
        elif line.strip() and not line.startswith('#'):
            kind, _, rest = line.partition(' ')
            found.append([number, kind, rest])
    return found


def match(want, got, names, path='$'):
    """Where they differ, or None."""
    if isinstance(want, str) and (m := re.fullmatch(r'<([a-z0-9]+)(?::(\w+))?>', want)):
        word, name = m.groups()
        if word != 'any' and not (isinstance(got, str) and re.fullmatch(PATTERNS[word], got)):
            return f'{path} is {got!r}, no {word}'
        if name:
            names[name] = got
        return None
    if isinstance(want, dict) and isinstance(got, dict):
        for key, value in want.items():
            if key not in got:
                return f'{path} has no {key!r}: {got!r}'
            if problem := match(value, got[key], names, f'{path}.{key}'):
                return problem
        return None
    if isinstance(want, list) and isinstance(got, list):
        if len(want) != len(got):
            return f'{path} has {len(got)} elements, not {len(want)}: {got!r}'
        return next((p for i, w in enumerate(want) if (p := match(w, got[i], names, f'{path}[{i}]'))), None)
    return None if want == got and isinstance(want, bool) == isinstance(got, bool) else f'{path} is {got!r}, not {want!r}'


def fill(text, names):
    return re.sub(r'\{(\w+)\}', lambda m: str(names[m[1]]) if m[1] in names else m[0], text)


def play(text, send, shell):
    """send(body, user) posts it and gives what is answered, parsed; shell(line) runs it. Returns the methods called."""
    names, user, answer, called = {}, 'root', None, set()
    for number, kind, rest in steps(text):
        rest = fill(rest, names)
        if kind == 'as':
            user = rest
        elif kind == '$':
            shell(rest)
        elif kind == '>':
            request = json.loads(rest)
            if isinstance(request, dict):
                request = {'jsonrpc': '2.0', 'id': number, **request}
                called.add(request['method'])
            answer = send(json.dumps(request), user)
        else:
            key = {'<': 'result', '!': 'error'}[kind]
            want = json.loads(rest)
            got = answer if isinstance(answer, list) else answer.get(key, answer)
            assert isinstance(answer, list) or key in answer, f'line {number}: {answer}'
            problem = match(want, got, names)
            assert not problem, f'line {number}: {problem}\n{json.dumps(answer, indent=1)}'
    return called
