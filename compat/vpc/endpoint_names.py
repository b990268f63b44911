"""Names of the services of AWS that a VPC can have interfaces of, as its documentation lists them for most regions."""

from __future__ import annotations

NAMES = """
access-analyzer account acm acm-pca airflow.api airflow.env airflow.ops amplify amplifybackend apigateway appconfig
appconfigdata appflow application-autoscaling application-signals appmesh appmesh-envoy-management apprunner
apprunner.requests appstream.api appstream.streaming appsync appsync-api athena auditmanager autoscaling
autoscaling-plans awsconnector b2bi backup backup-gateway batch bedrock bedrock-agent bedrock-agent-runtime
bedrock-runtime braket cases cassandra cleanrooms cloudcontrolapi cloudcontrolapi-fips clouddirectory cloudformation
cloudhsmv2 cloudtrail codeartifact.api codeartifact.repositories codebuild codebuild-fips codecommit codecommit-fips
codeconnections.api codedeploy codedeploy-commands-secure codeguru-profiler codeguru-reviewer codepipeline
codestar-connections.api cognito-idp comprehend comprehendmedical config connect-campaigns console controlcatalog
databrew data-servicediscovery data-servicediscovery-fips datasync datazone deadline.management deadline.scheduling
devops-guru dms dms-fips drs ds ds-data dynamodb ebs ec2 ec2messages ecr.api ecr.dkr ecs ecs-agent ecs-telemetry eks
eks-auth elasticache elasticbeanstalk elasticbeanstalk-health elasticfilesystem elasticfilesystem-fips
elasticloadbalancing elasticmapreduce email-smtp emr-containers emr-serverless emr-serverless-services.livy
entityresolution evidently events execute-api finspace finspace-api fis forecast forecastquery frauddetector fsx
fsx-fips git-codecommit git-codecommit-fips glue glue.dashboard grafana grafana-workspace greengrass groundstation
guardduty guardduty-data guardduty-data-fips healthlake identitystore imagebuilder inspector2 inspector-scan
internetmonitor invoicing iot.credentials iot.data iot.fleethub.api iotsitewise.api iotsitewise.data iottwinmaker.api
iottwinmaker.data iotwireless.api kafka kafka-fips kendra kinesis-firehose kinesis-streams kinesisanalytics kms
kms-fips lakeformation lambda launchwizard license-manager license-manager-linux-subscriptions
license-manager-user-subscriptions logs lookoutequipment lookoutmetrics lookoutvision m2 macie2 managedblockchain-query
mediaconnect medical-imaging memory-db memorydb-fips mgn migrationhub-orchestrator migrationhub-strategy monitoring
networkflowmonitor networkmonitor notifications notifications-contacts observabilityadmin oam organizations osis
outposts panorama payment-cryptography.controlplane payment-cryptography.dataplane pca-connector-ad pca-connector-scep
personalize personalize-events personalize-runtime pinpoint pinpoint-sms-voice-v2 pipes polly private-networks
profile proton qbusiness qldb.session quicksight-website ram rbin rds rds-data redshift redshift-data redshift-fips
redshift-serverless refactor-spaces rekognition resiliencehub resource-explorer-2 resource-groups robomaker
rolesanywhere route53resolver rum rum-dataplane s3 s3-outposts s3tables sagemaker.api sagemaker.featurestore-runtime
sagemaker.metrics sagemaker.runtime sagemaker.runtime-fips scheduler schemas secretsmanager securityhub securitylake
serverlessrepo servicecatalog servicecatalog-appregistry servicediscovery servicediscovery-fips servicequotas
signer signin simspaceweaver snow-device-management sns sqs ssm ssm-contacts ssm-incidents ssm-quicksetup ssmmessages
states storagegateway streaming-rekognition sts supportapp swf swf-fips sync-states synthetics tagging tax textract
timestream-influxdb timestreamwrite tnb transcribe transcribestreaming transfer transfer.server translate
trustedadvisor user-subscriptions verifiedpermissions vpc-lattice wellarchitected wisdom workmail workspaces
workspaces-web xray
"""
INTERFACES = tuple(sorted(NAMES.split()))
