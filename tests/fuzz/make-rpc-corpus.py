#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/fuzz/corpus/rpc anew: make-rpc-corpus.py OPENRPC_DOCUMENT

The document is that of hero-rpcd, as "rpc.discover" answers it. For each method there is a file with good parameters, and one, a
batch or two, with each parameter of each wrong type, absent, too short and too long. Beside them the examples of the JSON-RPC 2.0
specification and the bodies of the seed's curl commands, verbatim, and what is no JSON, or too much of it.

The first byte of a file says who asks and how the bus answers: see fuzz-rpc.c.
"""

import json
import os
import sys

CORPUS = os.path.join(os.path.dirname(os.path.realpath(__file__)), 'corpus/rpc')
BATCH_MAX = 100
VALUES = {'string': 'x', 'integer': 1, 'number': 1.5, 'boolean': True, 'array': ['x'], 'object': {}}
GOOD = {'vm_id': 'alice-vm', 'user_id': 'alice', 'job_id': '1', 'path': '/etc/hostname', 'reference': 'alpine:latest',
        'states': ['running'], 'state': 'running', 'timeout_secs': 1, 'command': ['true'], 'env': ['A=B'], 'name': 'alice-vm'}

# https://www.jsonrpc.org/specification, section 7
SPECIFICATION = (
    '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
    '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
    '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
    '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
    '{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}',
    '{"jsonrpc": "2.0", "method": "foobar"}',
    '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
    '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]',
    '{"jsonrpc": "2.0", "method": 1, "params": "bar"}',
    '[\n  {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},\n  {"jsonrpc": "2.0", "method"\n]',
    '[]',
    '[1]',
    '[1,2,3]',
    '[\n    {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},\n'
    '    {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},\n'
    '    {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},\n    {"foo": "boo"},\n'
    '    {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},\n'
    '    {"jsonrpc": "2.0", "method": "get_data", "id": "9"} \n]',
    '[\n    {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},\n'
    '    {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}\n]',
)

# hero_compute_manager's README: provision, get and start a user's VM
SEED = (
    '{\n"jsonrpc": "2.0",\n"id": 1,\n"method": "user.provision",\n"params": {\n"user_id": "alice",\n"name": "alice-vm",\n'
    '"image": "alpine:latest",\n"cpu_count": 2,\n"memory_mb": 1024\n}\n}',
    '{"jsonrpc":"2.0","id":1,"method":"user.vm","params":{"user_id":"alice"}}',
    '{"jsonrpc":"2.0","id":1,"method":"user.start","params":{"user_id":"alice"}}',
)

OTHERS = {
    'empty': b'0', 'nul': b'0{"jsonrpc":"2.0","id":"\\u0000","method":"health"}', 'nul-byte': b'0{"jsonrpc":"2.0","id":1,\0}',
    'deep': b'0' + b'[' * 32 + b']' * 32, 'too-deep': b'0' + b'[' * 2000, 'deep-params':
    b'0{"jsonrpc":"2.0","id":1,"method":"vm.create","params":' + b'{"resources":' * 31 + b'{}' + b'}' * 32,
    'too-many': b'0[' + b','.join([b'0'] * 101) + b']', 'twice': b'0{"jsonrpc":"2.0","id":1,"id":2,"method":"health"}',
    'bad-utf8': b'0{"jsonrpc":"2.0","id":1,"method":"vm.get","params":{"vm_id":"\xc0\xaf"}}',
    'long-name': '0{"jsonrpc":"2.0","id":1,"method":"vm.get","params":{"'.encode() + '€'.encode() * 40 + b'":1}}',
    'ids': b'0[' + b','.join(b'{"jsonrpc":"2.0","method":"health","id":' + i + b'}' for i in
                             (b'"x"', b'null', b'-1', b'1.5', b'1e3', b'9223372036854775807', b'[]', b'{}', b'true', b'"\xe2\x82\xac\\u0001\\"\\\\"')) + b']',
    'notification': b'0{"jsonrpc":"2.0","method":"vm.suspend","params":["bob"]}',
    'stranger': b'2{"jsonrpc":"2.0","id":1,"method":"vm.list"}', 'other-user': b'1{"jsonrpc":"2.0","id":1,"method":"vm.get","params":["bob"]}',
    'away': b'3{"jsonrpc":"2.0","id":1,"method":"vm.list"}', 'user-away': b'3{"jsonrpc":"2.0","id":1,"method":"user.provision","params":["carol"]}',
    'line': b'@{"jsonrpc":"2.0","id":1,"method":"compute.vm.remove","params":{"id":"bob","force":true}}',
    'line-status': b'@{"jsonrpc":"2.0","id":1,"method":"compute.vm.status","params":{"name":"alice-vm","id":"x"}}',
}


def call(method, params, number=1):
    return {'jsonrpc': '2.0', 'id': number, 'method': method, 'params': params}


def good(name, schema):
    if name in GOOD and (schema['type'] != 'array' or isinstance(GOOD[name], list)):
        return GOOD[name]
    if schema['type'] in ('integer', 'number'):
        return max(schema.get('minimum', 0), 1)
    if schema['type'] == 'object':
        return {n: good(n, s) for n, s in schema.get('properties', {}).items()}
    return VALUES[schema['type']]


def bad(schema):
    """Values that a parameter cannot have."""
    wrong = [v for t, v in VALUES.items() if t != schema['type'] and (t, schema['type']) != ('integer', 'number')]
    if schema['type'] == 'string':
        wrong += [''] if schema.get('minLength') else []
        wrong.append('y' * (schema['maxLength'] + 1) if schema['maxLength'] < 100 else '€')
    elif schema['type'] in ('integer', 'number'):
        wrong += [schema['minimum'] - 1, schema['maximum'] + 1, 1e300]
    elif schema['type'] == 'array':
        wrong.append([1])
    elif schema['type'] == 'object':
        wrong += [{n: w} for n, s in schema['properties'].items() for w in bad(s)] + [{'more': 1}]
    return wrong


def calls(method):
    params = {p['name']: p for p in method['params']}
    full = {n: good(n, p['schema']) for n, p in params.items()}
    required = {n: v for n, v in full.items() if params[n]['required']}
    yield call(method['name'], full)
    yield call(method['name'], list(full.values()))
    yield call(method['name'], {**required, 'more': 1})
    yield call(method['name'], list(full.values()) + [1])
    for n, p in params.items():
        for value in bad(p['schema']) + [None]:
            yield call(method['name'], {**required, n: value})


def write(name, data):
    with open(os.path.join(CORPUS, name), 'wb') as f:
        f.write(data)


def write_method(method):
    all_calls = list(calls(method))
    name = method['name']
    compact = {'separators': (',', ':'), 'ensure_ascii': False}
    write(name, b'0' + json.dumps(all_calls[0], **compact).encode())
    for how, suffix in (('1', 'user'), ('4', 'errors'), ('8', 'fail'), ('P', 'left')):
        if name not in ('health', 'rpc.discover'):
            write(f'{name}-{suffix}', how.encode() + json.dumps(all_calls[0], **compact).encode())
    for i in range(1, len(all_calls), BATCH_MAX):
        batch = [{**c, 'id': k} for k, c in enumerate(all_calls[i:i + BATCH_MAX])]
        write(f'{name}-wrong{i // BATCH_MAX or ""}', b'0' + json.dumps(batch, **compact).encode())


def main():
    os.makedirs(CORPUS, exist_ok=True)
    for name in os.listdir(CORPUS):
        os.unlink(os.path.join(CORPUS, name))
    for i, body in enumerate(SPECIFICATION):
        write(f'specification-{i + 1:02}', b'0' + body.encode())
    for i, body in enumerate(SEED):
        write(f'seed-{i + 1}', b'0' + body.encode())
    for name, data in OTHERS.items():
        write(name, data)
    with open(sys.argv[1], encoding='utf-8') as f:
        document = json.load(f)
    for method in document['methods']:
        write_method(method)


if __name__ == '__main__':
    main()
