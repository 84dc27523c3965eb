-- rescind behind HAProxy 2.5 or newer: the action `lua.rescind`. It needs no other Lua library.
--
--   lua-load rescind.lua
--   http-request lua.rescind http://127.0.0.1:9000/verify?require=search:read
--
-- A call with a good token goes on, with the sidecar's X-Rescind-* headers. Other calls are answered.
-- Remove the caller's own X-Rescind-* headers before: see haproxy.cfg.

-- In milliseconds. HAProxy 2.6 sends the request four times if there is no answer, so a frozen sidecar
-- costs a call 1.2 s. The sidecar waits up to 250 ms for the first look-up of a token.
local TIMEOUT_MS = 300

local TO_SERVICE = {
  "x-rescind-subject", "x-rescind-kind", "x-rescind-token-id", "x-rescind-scopes",
  "x-rescind-scopes-removed", "x-rescind-scopes-removed-count", "x-rescind-chain", "x-rescind-as-of",
}
local TO_CALLER = {
  "content-type", "cache-control", "www-authenticate", "retry-after", "x-rescind-reason",
}

local function refuse_unavailable(txn)
  local reply = txn:reply({ status = 503 })
  reply:add_header("retry-after", "1")
  reply:add_header("cache-control", "no-store")
  reply:add_header("x-rescind-reason", "unavailable")
  txn:done(reply)
end

local function refuse(txn, answer)
  local reply = txn:reply({ status = answer.status })
  for _, name in ipairs(TO_CALLER) do
    local values = answer.headers[name]
    if values and values[0] then reply:add_header(name, values[0]) end
  end
  reply:set_body(answer.body or "")
  txn:done(reply)
end

-- Both Authorization headers are sent if there are two: the sidecar refuses the call.
local function headers_for_sidecar(txn)
  local headers = { ["x-real-ip"] = { txn.sf:src() } }
  local sent = txn.http:req_get_headers()["authorization"]
  if sent then
    headers["authorization"] = {}
    for i = 0, #sent do table.insert(headers["authorization"], sent[i]) end
  end
  return headers
end

local function verify(txn, url)
  local ok, answer = pcall(function()
    return core.httpclient():get({ url = url, headers = headers_for_sidecar(txn), timeout = TIMEOUT_MS })
  end)
  if not ok or not answer or not answer.headers then return refuse_unavailable(txn) end
  if answer.status == 200 then
    for _, name in ipairs(TO_SERVICE) do
      local values = answer.headers[name]
      if values and values[0] and values[0] ~= "" then txn.http:req_set_header(name, values[0]) end
    end
    return
  end
  -- Other answers without a reason are not the sidecar's, or say that the query is wrong.
  if not answer.headers["x-rescind-reason"] then return refuse_unavailable(txn) end
  refuse(txn, answer)
end

core.register_action("rescind", { "http-req" }, verify, 1)
