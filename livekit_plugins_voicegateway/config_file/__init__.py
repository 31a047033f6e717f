"""How voicegw.yaml is read: bytes -> nodes with lines -> typed sections -> `config.Config`.

`config.load_config` imports `schema` when there is a file; nobody else needs to.
"""
