-- What wrk sends (the first argument after the URL names it), and its figures as one line of JSON.
--
--     wrk ... -s wrk.lua URL -- hello | browser | pipelined | connection | post | static

local browser = table.concat({
   "GET /articles/2026/how-a-request-travels?utm_source=newsletter&page=2 HTTP/1.1",
   "Host: www.example.org",
   "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
   "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
   "Accept-Language: en-GB,en;q=0.7,de-CH;q=0.3",
   "Accept-Encoding: gzip, deflate, br",
   "Referer: https://www.example.org/articles/2026/?sort=newest",
   "DNT: 1",
   "Connection: keep-alive",
   "Cookie: %s",
   "Upgrade-Insecure-Requests: 1",
   "Sec-Fetch-Mode: navigate",
   "Cache-Control: max-age=0",
   "", "",
}, "\r\n")
local cookie = "session=4f1c2a9be07d4d55a1b7c3; theme=dark; consent=yes; visitor="
-- The cookie fills the request up to 700 octets.
browser = browser:format(cookie .. string.rep("7", 700 - (#browser - 2) - #cookie))
assert(#browser == 700)

local hello = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
local body = string.rep("0123456789abcdef", 64)
local requests = {
   hello = hello,
   browser = browser,
   pipelined = string.rep(hello, 16),
   connection = "GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n",
   static = "GET /static.bin HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
   post = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n" ..
      "Content-Length: 1024\r\n\r\n" .. body,
}
-- Not a global request(): wrk would call it for each request. Without one it asks wrk.format once.
function init(args)
   local chosen = assert(requests[args[1]], "wrk.lua: no such request")
   wrk.format = function() return chosen end
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "seconds": %.6f, "octets": %d, ' ..
      '"latency_us": {"p50": %d, "p99": %d, "p999": %d, "max": %d}, ' ..
      '"errors": {"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
      summary.requests, summary.duration / 1e6, summary.bytes,
      latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max,
      e.connect, e.read, e.write, e.status, e.timeout))
end
