-- What wrk sends: a job, as benchmarks/web/driver.py writes it. One thread, so one state: every connection shares it.
local job
local free, first, last = {}, 1, 0
wrong, complaint = 0, ""
threads = {}

function setup(thread)
  table.insert(threads, thread)
end

local function get_any()
  local requests = {}
  for place, id in ipairs(job.ids) do
    requests[place] = wrk.format("GET", job.path .. "/" .. id)
  end
  return function()
    return requests[math.random(#requests)]
  end
end

local function create()
  local number = 0
  return function()
    number = number + 1
    return wrk.format("POST", job.path, nil, (job.body:gsub("~", tostring(number))))
  end
end

-- A record is free while no request of it is under way, so its version is known. A record whose answer is not understood
-- stays away.
local function update()
  for place, id in ipairs(job.ids) do
    free[place] = { id, job.versions[place] }
  end
  last = #job.ids
  local headers = {}
  for name, value in pairs(wrk.headers) do
    headers[name] = value
  end
  return function()
    local known = free[first]
    if known == nil then
      error("more requests are under way than there are records")
    end
    free[first] = nil
    first = first + 1
    headers["If-Match"] = '"' .. known[2] .. '"'
    return wrk.format("PATCH", job.path .. "/" .. known[1], headers, (job.body:gsub("~", tostring(known[2] % 100))))
  end
end

local function updated(status, _, body)
  local id, version = body:match('"id":%s*"([%x%-]+)"'), body:match('"version":%s*(%d+)')
  if status == 200 and id and version then
    last = last + 1
    free[last] = { id, version }
  else
    wrong = wrong + 1
    complaint = status .. " " .. body:sub(1, 200)
  end
end

local function refused(status, _, body)
  if status < 200 or status > 299 then
    wrong = wrong + 1
    complaint = status .. " " .. body:sub(1, 200)
  end
end

function init(arguments)
  job = dofile(arguments[1])
  math.randomseed(job.seed)
  wrk.headers["Authorization"] = "Bearer " .. job.token
  wrk.headers["X-Request-Id"] = job.request_id
  if job.kind == "same" then
    wrk.path = job.path
  elseif job.kind == "any" then
    request = get_any()
  else
    wrk.headers["Content-Type"] = "application/json"
    request = job.kind == "create" and create() or update()
    response = job.kind == "create" and refused or updated
  end
end

local function quoted(text)
  return '"' .. text:gsub('[%c"\\]', " ") .. '"'
end

function done(summary, latency, _)
  local errors = summary.errors
  local said, complained = 0, ""
  for _, thread in ipairs(threads) do
    said = said + thread:get("wrong")
    complained = thread:get("complaint")
  end
  local lost = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "bytes": %d, "refused": %d, "lost": %d, "complaint": %s, '
      .. '"p50": %d, "p95": %d, "p99": %d, "longest": %d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, math.max(errors.status, said), lost, quoted(complained),
    latency:percentile(50), latency:percentile(95), latency:percentile(99), latency.max))
end
