// The program of the proxies' pods, and of the Jobs that drain a spool.
import { drainSpool } from './drain.ts'
import { runClusterProxy } from './main.ts'

const { AGENTACCESS_SPOOL: spool = '/var/lib/agentaccess/spool', AGENTACCESS_GRACE_SECONDS: grace = '30' } = process.env
if (process.argv[2] !== 'drain') await runClusterProxy({ spool, graceMs: Number(grace) * 1000 })
else if (!(await drainSpool(spool))) process.exitCode = 1
