//! Applications, groups, configurations, instances and tags: what is kept, and what is refused.

use crate::support::*;
use serde_json::json;
use towpath_api::FromNode;
use towpath_api_codedeploy::*;

fn app(name: &str) -> CreateApplicationInput {
    CreateApplicationInput { application_name: Some(name.into()), ..Default::default() }
}

fn group(name: &str) -> CreateDeploymentGroupInput {
    CreateDeploymentGroupInput {
        application_name: Some("shop".into()),
        deployment_group_name: Some(name.into()),
        service_role_arn: Some(ROLE.into()),
        ..Default::default()
    }
}

#[tokio::test]
async fn applications_are_created_renamed_listed_and_deleted_with_what_is_in_them() {
    let world = World::new().await;
    let service = &world.service;
    world.fleet(&[], "CodeDeployDefault.OneAtATime").await;
    let twice = service.create_application(&admin(), app("shop")).await.unwrap_err();
    assert_eq!(twice.code, "ApplicationAlreadyExistsException");
    for platform in ["Lambda", "ECS"] {
        let input = CreateApplicationInput { compute_platform: Some(platform.into()), ..app("other") };
        let refused = service.create_application(&admin(), input).await.unwrap_err();
        assert_eq!(refused.code, "NotImplemented");
        assert!(refused.message.contains(platform), "{}", refused.message);
    }
    assert_eq!(code(service.create_application(&admin(), app("")).await), "ApplicationNameRequiredException");
    assert_eq!(
        code(service.create_application(&admin(), app("a/b")).await),
        "InvalidApplicationNameException"
    );
    let rename = UpdateApplicationInput {
        application_name: Some("shop".into()),
        new_application_name: Some("store".into()),
    };
    service.update_application(&admin(), rename).await.unwrap();
    let get = |name: &str| GetDeploymentGroupInput {
        application_name: Some(name.into()),
        deployment_group_name: Some("prod".into()),
    };
    assert_eq!(
        code(service.get_deployment_group(&admin(), get("shop")).await),
        "ApplicationDoesNotExistException"
    );
    service.get_deployment_group(&admin(), get("store")).await.expect("the group went along");
    let delete = DeleteApplicationInput { application_name: Some("store".into()) };
    service.delete_application(&admin(), delete.clone()).await.unwrap();
    service.delete_application(&admin(), delete).await.expect("deleting twice succeeds");
    let list = service.list_applications(&admin(), ListApplicationsInput::default()).await.unwrap();
    assert_eq!(list.applications.unwrap(), Vec::<String>::new());
    world.stop().await;
}

#[tokio::test]
async fn lists_are_paged() {
    let world = World::new().await;
    for number in 0..205 {
        world.service.create_application(&admin(), app(&format!("app-{number:03}"))).await.unwrap();
    }
    let (mut names, mut token, mut pages) = (Vec::new(), None, 0);
    loop {
        let input = ListApplicationsInput { next_token: token };
        let page = world.service.list_applications(&admin(), input).await.unwrap();
        names.extend(page.applications.unwrap());
        pages += 1;
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!((names.len(), pages), (205, 3));
    assert!(names.is_sorted());
    let broken = ListApplicationsInput { next_token: Some("!".into()) };
    assert_eq!(code(world.service.list_applications(&admin(), broken).await), "InvalidNextTokenException");
    world.stop().await;
}

#[tokio::test]
async fn group_options_that_are_not_done_are_refused_by_name() {
    let world = World::new().await;
    world.service.create_application(&admin(), app("shop")).await.unwrap();
    let cases = [
        ("ec2TagFilters", json!([{"Key": "a"}])),
        ("ec2TagSet", json!({"ec2TagSetList": [[{"Key": "a"}]]})),
        ("autoScalingGroups", json!(["a"])),
        ("terminationHookEnabled", json!(true)),
        ("ecsServices", json!([{"serviceName": "a"}])),
        ("triggerConfigurations", json!([{"triggerName": "a"}])),
        ("blueGreenDeploymentConfiguration", json!({})),
        ("loadBalancerInfo", json!({"elbInfoList": [{"name": "a"}]})),
        ("alarmConfiguration", json!({"enabled": true})),
        ("ec2DeploymentOptions", json!({"autoScalingGroupProcessesToSuspend": ["a"]})),
        ("BLUE_GREEN", json!({"deploymentStyle": {"deploymentType": "BLUE_GREEN"}})),
        ("WITH_TRAFFIC_CONTROL", json!({"deploymentStyle": {"deploymentOption": "WITH_TRAFFIC_CONTROL"}})),
        (
            "DEPLOYMENT_STOP_ON_ALARM",
            json!({"autoRollbackConfiguration": {"enabled": true, "events": ["DEPLOYMENT_STOP_ON_ALARM"]}}),
        ),
    ];
    for (name, option) in cases {
        let mut input = serde_json::to_value(group("prod")).unwrap();
        // An option by its own name, or a member that carries it.
        match name.starts_with(char::is_lowercase) {
            true => input[name] = option,
            false => input.as_object_mut().unwrap().extend(option.as_object().unwrap().clone()),
        }
        let input = CreateDeploymentGroupInput::from_node(serde_json::from_value(input).unwrap()).unwrap();
        let refused = world.service.create_deployment_group(&admin(), input).await.expect_err(name);
        assert_eq!(refused.code, "NotImplemented", "{name}");
        assert!(refused.message.contains(name), "{}", refused.message);
    }
    world.stop().await;
}

#[tokio::test]
async fn groups_are_validated_updated_and_renamed() {
    let world = World::new().await;
    let service = &world.service;
    service.create_application(&admin(), app("shop")).await.unwrap();
    let both = CreateDeploymentGroupInput {
        on_premises_instance_tag_filters: Some(vec![filter("role", "web")]),
        on_premises_tag_set: Some(OnPremisesTagSet {
            on_premises_tag_set_list: Some(vec![vec![filter("a", "b")]]),
        }),
        ..group("prod")
    };
    assert_eq!(
        code(service.create_deployment_group(&admin(), both).await),
        "InvalidOnPremisesTagCombinationException"
    );
    let config = CreateDeploymentGroupInput { deployment_config_name: Some("None".into()), ..group("prod") };
    assert_eq!(
        code(service.create_deployment_group(&admin(), config).await),
        "DeploymentConfigDoesNotExistException"
    );
    let role = CreateDeploymentGroupInput { service_role_arn: Some("role".into()), ..group("prod") };
    assert_eq!(code(service.create_deployment_group(&admin(), role).await), "InvalidRoleException");
    let orphan = CreateDeploymentGroupInput { application_name: Some("none".into()), ..group("prod") };
    assert_eq!(
        code(service.create_deployment_group(&admin(), orphan).await),
        "ApplicationDoesNotExistException"
    );
    let events = CreateDeploymentGroupInput {
        auto_rollback_configuration: Some(AutoRollbackConfiguration { enabled: Some(true), events: None }),
        ..group("prod")
    };
    assert_eq!(
        code(service.create_deployment_group(&admin(), events).await),
        "InvalidAutoRollbackConfigException"
    );
    service.create_deployment_group(&admin(), group("prod")).await.unwrap();
    let twice = service.create_deployment_group(&admin(), group("prod")).await;
    assert_eq!(code(twice), "DeploymentGroupAlreadyExistsException");

    let update = UpdateDeploymentGroupInput {
        application_name: Some("shop".into()),
        current_deployment_group_name: Some("prod".into()),
        new_deployment_group_name: Some("live".into()),
        deployment_config_name: Some("CodeDeployDefault.AllAtOnce".into()),
        on_premises_tag_set: Some(OnPremisesTagSet {
            on_premises_tag_set_list: Some(vec![vec![filter("role", "web")], vec![filter("zone", "a")]]),
        }),
        ..Default::default()
    };
    service.update_deployment_group(&admin(), update.clone()).await.unwrap();
    let gone = service.update_deployment_group(&admin(), update).await;
    assert_eq!(code(gone), "DeploymentGroupDoesNotExistException");
    let batch = BatchGetDeploymentGroupsInput {
        application_name: Some("shop".into()),
        deployment_group_names: Some(vec!["live".into(), "prod".into()]),
    };
    let batch = service.batch_get_deployment_groups(&admin(), batch).await.unwrap();
    let groups = batch.deployment_groups_info.unwrap();
    assert_eq!(batch.error_message.as_deref(), Some("No Deployment Group found for name: prod"));
    assert_eq!(groups[0].deployment_config_name.as_deref(), Some("CodeDeployDefault.AllAtOnce"));
    assert_eq!(groups[0].on_premises_tag_set.clone().unwrap().on_premises_tag_set_list.unwrap().len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn configurations_know_their_rules() {
    let world = World::new().await;
    let service = &world.service;
    let create = |name: &str, type_: &str, value: i64| CreateDeploymentConfigInput {
        deployment_config_name: Some(name.into()),
        minimum_healthy_hosts: Some(MinimumHealthyHosts { type_: Some(type_.into()), value: Some(value) }),
        ..Default::default()
    };
    service.create_deployment_config(&admin(), create("Mine", "FLEET_PERCENT", 75)).await.unwrap();
    for (input, expected) in [
        (create("Mine", "HOST_COUNT", 1), "DeploymentConfigAlreadyExistsException"),
        (create("Other", "FLEET_PERCENT", 100), "InvalidMinimumHealthyHostValueException"),
        (create("Other", "MOST_CONCURRENCY", 1), "InvalidMinimumHealthyHostValueException"),
        (create("Other", "HOST_COUNT", -1), "InvalidMinimumHealthyHostValueException"),
        (create("CodeDeployDefault.Mine", "HOST_COUNT", 1), "InvalidDeploymentConfigNameException"),
        (
            CreateDeploymentConfigInput {
                zonal_config: Some(ZonalConfig::default()),
                ..create("Other", "HOST_COUNT", 1)
            },
            "NotImplemented",
        ),
    ] {
        assert_eq!(code(service.create_deployment_config(&admin(), input).await), expected);
    }
    let get =
        GetDeploymentConfigInput { deployment_config_name: Some("CodeDeployDefault.OneAtATime".into()) };
    let one = service.get_deployment_config(&admin(), get).await.unwrap().deployment_config_info.unwrap();
    let hosts = one.minimum_healthy_hosts.unwrap();
    assert_eq!((hosts.type_.as_deref(), hosts.value), (Some("MOST_CONCURRENCY"), Some(1)));
    let list =
        service.list_deployment_configs(&admin(), ListDeploymentConfigsInput::default()).await.unwrap();
    assert_eq!(list.deployment_configs_list.unwrap().last().map(String::as_str), Some("Mine"));

    service.create_application(&admin(), app("shop")).await.unwrap();
    let used = CreateDeploymentGroupInput { deployment_config_name: Some("Mine".into()), ..group("prod") };
    service.create_deployment_group(&admin(), used).await.unwrap();
    let delete = |name: &str| DeleteDeploymentConfigInput { deployment_config_name: Some(name.into()) };
    assert_eq!(
        code(service.delete_deployment_config(&admin(), delete("Mine")).await),
        "DeploymentConfigInUseException"
    );
    let predefined = service.delete_deployment_config(&admin(), delete("CodeDeployDefault.AllAtOnce")).await;
    assert_eq!(code(predefined), "InvalidOperationException");
    world.stop().await;
}

#[tokio::test]
async fn instances_are_registered_tagged_found_and_deregistered() {
    let world = World::new().await;
    let service = &world.service;
    world.register("web-1").await;
    world.register("web-2").await;
    let register = |name: &str, user: Option<&str>, session: Option<&str>| RegisterOnPremisesInstanceInput {
        instance_name: Some(name.into()),
        iam_user_arn: user.map(user_arn),
        iam_session_arn: session.map(str::to_owned),
    };
    for (input, expected) in [
        (register("web-1", Some("new"), None), "InstanceNameAlreadyRegisteredException"),
        (register("web-3", Some("web-1"), None), "IamUserArnAlreadyRegisteredException"),
        (register("web-3", None, None), "IamArnRequiredException"),
        (register("web-3", Some("a"), Some("b")), "MultipleIamArnsProvidedException"),
        (register("web-3", None, Some("b")), "InvalidIamSessionArnException"),
        (register("i-123", Some("a"), None), "InvalidInstanceNameException"),
        (register("", Some("a"), None), "InstanceNameRequiredException"),
    ] {
        assert_eq!(code(service.register_on_premises_instance(&admin(), input).await), expected);
    }
    let get = GetOnPremisesInstanceInput { instance_name: Some("web-1".into()) };
    let info = service.get_on_premises_instance(&admin(), get).await.unwrap().instance_info.unwrap();
    let prefix = format!("arn:aws:codedeploy:us-east-1:{ACCOUNT}:instance/web-1_");
    assert!(info.instance_arn.unwrap().starts_with(&prefix));
    let remove = RemoveTagsFromOnPremisesInstancesInput {
        instance_names: Some(vec!["web-2".into()]),
        tags: Some(vec![Tag { key: Some("role".into()), value: Some("web".into()) }]),
    };
    service.remove_tags_from_on_premises_instances(&admin(), remove).await.unwrap();
    let list = |filters| ListOnPremisesInstancesInput { tag_filters: filters, ..Default::default() };
    let tagged =
        service.list_on_premises_instances(&admin(), list(Some(vec![filter("role", "web")]))).await.unwrap();
    assert_eq!(tagged.instance_names.unwrap(), ["web-1"]);
    let unknown = AddTagsToOnPremisesInstancesInput {
        instance_names: Some(vec!["web-1".into(), "nobody".into()]),
        tags: Some(vec![Tag { key: Some("a".into()), value: None }]),
    };
    let refused = service.add_tags_to_on_premises_instances(&admin(), unknown).await;
    assert_eq!(code(refused), "InstanceNotRegisteredException");

    let deregister = DeregisterOnPremisesInstanceInput { instance_name: Some("web-1".into()) };
    service.deregister_on_premises_instance(&admin(), deregister).await.unwrap();
    assert_eq!(code(world.agent("web-1").try_poll().await), "AccessDeniedException");
    let gone = ListOnPremisesInstancesInput {
        registration_status: Some("Deregistered".into()),
        ..Default::default()
    };
    let gone = service.list_on_premises_instances(&admin(), gone).await.unwrap();
    assert_eq!(gone.instance_names.unwrap(), ["web-1"]);
    world.register("web-1").await;
    world.stop().await;
}

#[tokio::test]
async fn resources_have_tags() {
    let world = World::new().await;
    let service = &world.service;
    service.create_application(&admin(), app("shop")).await.unwrap();
    service.create_deployment_group(&admin(), group("prod")).await.unwrap();
    for resource in ["application:shop", "deploymentgroup:shop/prod"] {
        let arn = Some(format!("arn:aws:codedeploy:us-east-1:{ACCOUNT}:{resource}"));
        let tag = |key: &str| Tag { key: Some(key.into()), value: Some("v".into()) };
        let add = TagResourceInput { resource_arn: arn.clone(), tags: Some(vec![tag("a"), tag("b")]) };
        service.tag_resource(&admin(), add).await.unwrap();
        let remove = UntagResourceInput { resource_arn: arn.clone(), tag_keys: Some(vec!["a".into()]) };
        service.untag_resource(&admin(), remove).await.unwrap();
        let list = ListTagsForResourceInput { resource_arn: arn, next_token: None };
        assert_eq!(service.list_tags_for_resource(&admin(), list).await.unwrap().tags.unwrap(), [tag("b")]);
    }
    let list = |arn: &str| ListTagsForResourceInput { resource_arn: Some(arn.into()), next_token: None };
    assert_eq!(code(service.list_tags_for_resource(&admin(), list("x")).await), "InvalidArnException");
    let other = format!("arn:aws:codedeploy:us-east-1:{ACCOUNT}:instance:web-1");
    assert_eq!(
        code(service.list_tags_for_resource(&admin(), list(&other)).await),
        "ArnNotSupportedException"
    );
    world.stop().await;
}

#[tokio::test]
async fn requests_for_deployments_are_checked() {
    let world = World::new().await;
    world.fleet(&["web-1"], "CodeDeployDefault.OneAtATime").await;
    let service = &world.service;
    let with = |change: fn(&mut CreateDeploymentInput)| {
        let mut input = world.request("v1.zip");
        change(&mut input);
        input
    };
    for (input, expected) in [
        (with(|i| i.application_name = Some("none".into())), "ApplicationDoesNotExistException"),
        (with(|i| i.deployment_group_name = Some("none".into())), "DeploymentGroupDoesNotExistException"),
        (with(|i| i.deployment_group_name = None), "DeploymentGroupNameRequiredException"),
        (with(|i| i.revision = None), "RevisionRequiredException"),
        (
            with(|i| {
                i.revision =
                    Some(RevisionLocation { revision_type: Some("GitHub".into()), ..Default::default() })
            }),
            "NotImplemented",
        ),
        (
            with(|i| {
                i.revision.as_mut().unwrap().s3_location.as_mut().unwrap().bundle_type = Some("YAML".into())
            }),
            "InvalidRevisionException",
        ),
        (with(|i| i.deployment_config_name = Some("none".into())), "DeploymentConfigDoesNotExistException"),
        (with(|i| i.description = Some("x".repeat(257))), "DescriptionTooLongException"),
        (with(|i| i.file_exists_behavior = Some("MERGE".into())), "InvalidFileExistsBehaviorException"),
        (
            with(|i| {
                i.target_instances = Some(TargetInstances {
                    auto_scaling_groups: Some(vec!["a".into()]),
                    ..Default::default()
                })
            }),
            "InvalidTargetInstancesException",
        ),
        (with(|i| i.deployment_mode = Some("RESTART".into())), "NotImplemented"),
    ] {
        assert_eq!(code(service.create_deployment(&admin(), input).await), expected);
    }
    let get = |id: &str| GetDeploymentInput { deployment_id: Some(id.into()) };
    assert_eq!(
        code(service.get_deployment(&admin(), get("d-NONE00000")).await),
        "DeploymentDoesNotExistException"
    );
    assert_eq!(code(service.get_deployment(&admin(), get("none")).await), "InvalidDeploymentIdException");
    let list = service.list_deployments(&admin(), ListDeploymentsInput::default()).await.unwrap();
    assert_eq!(list.deployments.unwrap(), Vec::<String>::new(), "what was refused left nothing behind");
    world.stop().await;
}

#[tokio::test]
async fn deployments_and_their_targets_are_found() {
    let world = World::new().await;
    world.fleet(&["web-1"], "CodeDeployDefault.OneAtATime").await;
    let service = &world.service;
    let first = world.deploy("v1.zip").await;
    world.started(&first).await;
    let target = |id: &str| GetDeploymentTargetInput {
        deployment_id: Some(first.clone()),
        target_id: Some(id.into()),
    };
    let unknown = service.get_deployment_target(&admin(), target("web-9")).await;
    assert_eq!(code(unknown), "DeploymentTargetDoesNotExistException");
    let arn = world.target(&first, "web-1").await.target_arn.unwrap();
    service.get_deployment_target(&admin(), target(&arn)).await.expect("the ARN names it too");
    let filter = |status: &str| ListDeploymentsInput {
        application_name: Some("shop".into()),
        deployment_group_name: Some("prod".into()),
        include_only_statuses: Some(vec![status.into()]),
        ..Default::default()
    };
    let running = service.list_deployments(&admin(), filter("InProgress")).await.unwrap();
    assert_eq!(running.deployments.unwrap(), [first]);
    assert_eq!(
        service.list_deployments(&admin(), filter("Failed")).await.unwrap().deployments.unwrap().len(),
        0
    );
    assert_eq!(
        code(service.list_deployments(&admin(), filter("Lost")).await),
        "InvalidDeploymentStatusException"
    );
    world.stop().await;
}
