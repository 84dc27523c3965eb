"""The answers of the authority as types, so that editors and type checkers show every field.

Each is the JSON object of the API itself, a `dict` whose keys are known: `answer["id"]`. A field is
always present unless it is `NotRequired`, and is None only if its type allows it. A test compares
every field with the authority's `/openapi.json`. Answers are not validated: a newer authority may
send more fields, an older one fewer.
"""
