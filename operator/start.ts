// The program of the operator's pods, and of the chart's hook before it is uninstalled.
import { runOperator } from './main.ts'
import { uninstall } from './uninstall.ts'

const settings = process.env.AGENTACCESS_SETTINGS ?? '/etc/agentaccess/settings.json'
await (process.argv[2] === 'uninstall' ? uninstall(settings) : runOperator(settings))
