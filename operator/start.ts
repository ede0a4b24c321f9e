// The program of the operator's pods.
import { runOperator } from './main.ts'

await runOperator(process.env.AGENTACCESS_SETTINGS ?? '/etc/agentaccess/settings.json')
