// The program of the proxies' pods.
import { runClusterProxy } from './main.ts'

const { AGENTACCESS_SPOOL: spool = '/var/lib/agentaccess/spool', AGENTACCESS_GRACE_SECONDS: grace = '30' } = process.env
await runClusterProxy({ spool, graceMs: Number(grace) * 1000 })
