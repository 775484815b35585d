-- wrk's side: `wrk -s load.lua URL -- UPLOAD_BYTES GZIP`. Prints one line of JSON at the end.
function init(arguments)
    local upload = tonumber(arguments[1]) or 0
    if upload > 0 then
        wrk.method = "POST"
        wrk.body = string.rep("x", upload)
        wrk.headers["Content-Type"] = "application/octet-stream"
    end
    if arguments[2] == "gzip" then
        wrk.headers["Accept-Encoding"] = "gzip"
    end
    request_text = wrk.format()
end

function request()
    return request_text
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '\nRESULT {"requests": %d, "seconds": %.6f, "bytes": %d, "p50_ms": %.3f, "p99_ms": %.3f, '
            .. '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
        summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50) / 1e3,
        latency:percentile(99) / 1e3, errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
