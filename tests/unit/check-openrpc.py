#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The OpenRPC document: the copy in docs/schemas is what the program says, and it is valid.

    check-openrpc.py SOURCE_ROOT PRINT_OPENRPC

Valid is: by the meta-schema of OpenRPC, with every schema in it a JSON Schema, every reference leading somewhere, and
every code of an error in the table of docs/json-rpc.md."""

import copy
import json
import pathlib
import re
import subprocess
import sys

import jsonschema

VALIDATOR = jsonschema.Draft7Validator


class References(jsonschema.RefResolver):
    """Of the document itself only. The library's own trips over the meta-schema, which has a property called $id."""

    def resolve(self, ref):
        return ref, lookup(self.referrer, ref)


def lookup(document, ref):
    if not ref.startswith('#/'):
        raise LookupError(ref)
    for part in ref[2:].split('/'):
        document = document[part.replace('~1', '/').replace('~0', '~')]
    return document


def against_meta_schema(document, meta):
    for error in VALIDATOR(meta, resolver=References('', meta)).iter_errors(document):
        where = '/'.join(map(str, error.absolute_path))
        yield f'the meta-schema says of {where or "the document"}: {error.message[:200]}'


def references(value):
    if isinstance(value, dict):
        if isinstance(value.get('$ref'), str):
            yield value['$ref']
        value = list(value.values())
    if isinstance(value, list):
        for v in value:
            yield from references(v)


def dangling(document):
    for ref in sorted(set(references(document))):
        try:
            lookup(document, ref)
        except (LookupError, TypeError):
            yield f'{ref} leads nowhere'


def schemas(document):
    for name, schema in document['components']['schemas'].items():
        yield name, schema
    for method in document['methods']:
        for descriptor in (*method['params'], method['result']):
            yield f'{method["name"]}: {descriptor["name"]}', descriptor['schema']


def bad_schemas(document):
    for name, schema in schemas(document):
        try:
            VALIDATOR.check_schema(schema)
        except jsonschema.SchemaError as e:
            yield f'{name} is no JSON Schema: {e.message[:200]}'


def twice(document):
    names = [m['name'] for m in document['methods']]
    for name in sorted({n for n in names if names.count(n) > 1}):
        yield f'there are several methods {name}'


def unused(document):
    wanted = set(references(document))
    for name in document['components']['schemas']:
        if f'#/components/schemas/{name}' not in wanted:
            yield f'nothing is of the schema {name}'


def codes(document, page):
    """Those of the domain; the standard's are not ours to number."""
    table = {name: int(code) for code, name in re.findall(r'^\| (-320\d\d) \| `(\w+)` \|', page, re.M)}
    there = document['components']['errors']['Domain']['data']['codes']
    domain = {name: code for name, code in there.items() if -32099 <= code <= -32000}
    if not domain:
        yield 'the document has no codes of errors'
    for name, code in domain.items():
        if table.get(name) != code:
            yield f'{name} is {code}, and {table.get(name, "not there")} in docs/json-rpc.md'
    for name in sorted(set(table) - set(domain) - {'ServerError'}):
        yield f'docs/json-rpc.md has the error {name}, which does not exist'


def problems(document, meta, page):
    yield from against_meta_schema(document, meta)
    yield from dangling(document)
    yield from bad_schemas(document)
    yield from twice(document)
    yield from unused(document)
    yield from codes(document, page)


def planted(document):
    """Faults that have to be found, each in a copy."""
    def fault(change):
        bad = copy.deepcopy(document)
        change(bad)
        return bad
    method = next(i for i, m in enumerate(document['methods']) if m['params'])
    yield fault(lambda d: d.pop('info'))
    yield fault(lambda d: d['methods'][0].update(surprise=1))
    yield fault(lambda d: d['methods'][method]['params'][0]['schema'].update(minLength='one'))
    yield fault(lambda d: d['methods'][0]['result']['schema'].update({'$ref': '#/components/schemas/Nothing'}))
    yield fault(lambda d: d['methods'].append(d['methods'][0]))
    yield fault(lambda d: d['components']['schemas'].update(Nothing={}))
    yield fault(lambda d: d['components']['errors']['Domain']['data']['codes'].update(NoSuchVM=-32099))
    yield fault(lambda d: d['components']['errors']['Domain']['data']['codes'].pop('NoSuchVM'))


def main():
    top, program = pathlib.Path(sys.argv[1]), sys.argv[2]
    said = json.loads(subprocess.run([program], check=True, capture_output=True, text=True).stdout)
    meta = json.loads((top / 'tests/unit/data/open-rpc/meta-schema.json').read_text(encoding='utf-8'))
    page = (top / 'docs/json-rpc.md').read_text(encoding='utf-8')
    committed = top / 'docs/schemas/openrpc.json'

    found = list(problems(said, meta, page))
    if committed.read_text(encoding='utf-8') != json.dumps(said, indent=2, ensure_ascii=False) + '\n':
        found.append(f'docs/schemas/openrpc.json is not what {program} says: run tools/update-openrpc')
    if not found:
        found = [f'check-openrpc.py does not notice fault {i}' for i, bad in enumerate(planted(said), 1)
                 if not list(problems(bad, meta, page))]
    for p in found:
        print(p, file=sys.stderr)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
